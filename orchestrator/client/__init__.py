"""What asks the daemon: it needs nothing that a quick answer does not."""
