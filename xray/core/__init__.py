"""The representation: camera, X-Ray, its file, model space, points."""
