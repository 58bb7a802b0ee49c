"""The leaves of the lifecycle: a function for each phase, and what a step can come to."""
