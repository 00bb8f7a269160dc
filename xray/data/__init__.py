"""Data sets of X-Rays."""
