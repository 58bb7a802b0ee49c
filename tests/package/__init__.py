"""The Debian package, built and used in directories that hold a distribution of their own."""
