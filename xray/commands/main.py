"""xray COMMAND ...: every command of the repository under one name, installed with the package."""

from __future__ import annotations

import importlib
import sys

from ..common.cli import BAD_INPUT, OK

COMMANDS = {
    "render": ("render", "meshes -> pictures and cameras"),
    "cast": ("cast", "meshes and cameras -> X-Rays and their manifest"),
    "dataset": ("dataset", "meshes -> pictures, X-Rays and manifest, in one go"),
    "train": ("train", "train a stage: xray train diffusion|upsampler --config FILE [key=value ...]"),
    "evaluate": ("evaluate", "score a trained stage: xray evaluate diffusion|upsampler ..."),
    "evaluate-points": ("evaluate_points", "score any method's meshes or points"),
    "infer": ("infer", "one picture -> X-Ray, points, mesh"),
    "demo": ("demo", "a page on which a picture becomes a mesh (requirements-demo.txt)"),
}
"""Name -> (module beside this one, what it does)."""


def main(arguments: list[str] | None = None) -> int:
    """Call a command with the rest of the command line; only what it needs is loaded."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(usage())
        return OK if arguments else BAD_INPUT
    name, *rest = arguments
    if name not in COMMANDS:
        sys.stderr.write(f"error: {name!r} is no command of xray; expected one of {', '.join(COMMANDS)}\n")
        return BAD_INPUT
    sys.argv = [f"xray {name}", *rest]  # what the command calls itself in its help
    return importlib.import_module(f".{COMMANDS[name][0]}", __package__).main(rest)


def usage() -> str:
    """The commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {text}" for name, (_, text) in COMMANDS.items()]
    return "usage: xray COMMAND [flags]; xray COMMAND --help lists them\n\n" + "\n".join(lines) + "\n"
