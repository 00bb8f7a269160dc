"""The networks, and what stands around them: scalings, conditions, losses."""
