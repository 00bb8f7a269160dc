"""From meshes to pictures and X-Rays, in bulk."""
