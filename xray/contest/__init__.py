"""A contest of training recipes: the same data, the same optimizer time, the same held-out objects."""
