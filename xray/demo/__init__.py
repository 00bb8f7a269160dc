"""The page that makes a mesh of a picture."""
