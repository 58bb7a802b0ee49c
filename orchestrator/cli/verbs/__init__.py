"""The verbs of the command: a module of its name for each; `image_…` and `answers_…` are parts of a group."""
