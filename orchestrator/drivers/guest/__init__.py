"""The guest port: what is asked of a guest through its agent, on Linux and on Windows."""
