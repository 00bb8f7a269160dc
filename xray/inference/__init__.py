"""From a picture to a mesh."""
