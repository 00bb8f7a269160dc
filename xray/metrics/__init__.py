"""Scores of point clouds and layers."""
