"""Names of the solvers of the sampling equation, apart from them, so that a command line needs no torch."""

SOLVER_NAMES = ("euler", "heun", "dpmpp_2m")
"""As commands and pipelines take them; `sampling.SOLVERS` has the functions, in this order."""
