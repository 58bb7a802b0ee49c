"""The rules: pure, state in, decision out. Nothing here reads a clock or touches the host."""
