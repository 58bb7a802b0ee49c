"""The numbers, each against a floor that is measured in the same run: `make bench`, or `python -m tests.bench NAME`."""
