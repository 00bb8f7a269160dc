"""Evaluation of trained networks and of files."""
