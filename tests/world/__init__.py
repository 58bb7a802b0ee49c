"""What tests of several rings share: a world to play in, builders of records, files to read, and one `until`."""
