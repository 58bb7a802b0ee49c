"""What is looked for in an answer file, by subject. `check` runs all of it; `place` is what all of it looks at."""
