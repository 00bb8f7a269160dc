"""Meshes from files and to files."""
