"""The only writers of records: requests, turns, operations, and the loop around them."""
