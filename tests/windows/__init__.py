"""Tests on real Windows media, which nobody but their owner has: never part of `make test`."""
