"""The Vagrant lab for real: `make test-vagrant`, never part of `make test`."""
