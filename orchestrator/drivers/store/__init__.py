"""The stores: SQLite on disk, and what every store needs to say what has changed."""
