"""The two networks, and sampling with them."""
