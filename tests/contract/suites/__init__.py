"""One suite per port; `tests/contract` runs it against the fake world, `tests/lab` against the real one."""
