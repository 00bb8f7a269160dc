"""Meshes from X-Rays."""
