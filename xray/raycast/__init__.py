"""Exact ray casting, and X-Rays of meshes."""
