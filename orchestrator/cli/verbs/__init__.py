"""The verbs of the command, a module for those that belong together."""
