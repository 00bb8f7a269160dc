"""One trainer for both stages."""
