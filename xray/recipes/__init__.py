"""Training recipes compared at equal optimizer time."""
