"""X-Ray: a 3D object as the ordered sequence of surfaces that each camera ray crosses."""

__version__ = "0.1.0"
