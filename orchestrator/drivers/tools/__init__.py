"""The ground floor of the drivers: what several families need, and what knows none of them."""
