"""Write docs/api.md, the public names with their docstrings: python docs/make_api.py (needs requirements-dev.txt).

The sources are read, not imported, by griffe: https://mkdocstrings.github.io/griffe
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"

GROUPS = {
    "The representation": ("XRay", "Camera", "orbit_camera", "load_xray", "save_xray", "PointCloud", "to_points"),
    "Meshes": ("load_mesh", "cast_mesh", "to_surface", "Surface", "save_mesh", "save_ply"),
    "Data and networks": (
        "make_dataset",
        "XRayDataset",
        "Codec",
        "XRayDiffusionPipeline",
        "XRayUpsamplerPipeline",
        "ShapeGenerator",
    ),
    "Errors": ("InputError", "RunError"),
}
"""Heading -> public names below it; every name of `xray.__all__` is in one group."""

SECTIONS = ("Args:", "Returns:", "Raises:", "Attributes:", "Yields:")


def page() -> str:
    """The text of docs/api.md."""
    package = griffe.load("xray", search_paths=[ROOT], submodules=True)
    homes = {line.name: line for line in package.members.values() if line.is_alias}
    public = {name for names in GROUPS.values() for name in names} & set(package.exports)
    missing = sorted(set(package.exports) - public)
    if missing:
        raise SystemExit(f"docs/make_api.py: no group for {', '.join(missing)}")
    lines = ["# The Python interface", "", "Made from the docstrings by `python docs/make_api.py`.", ""]
    lines += [*docstring(package.docstring.value), ""]
    for heading, names in GROUPS.items():
        listed = ", ".join(f"[`{name}`](#{name.lower()})" for name in names if name in public)
        lines += [f"- {heading}: {listed}"]
    for heading, names in GROUPS.items():
        lines += ["", f"## {heading}"]
        for name in names:
            if name in public:
                lines += entry(homes[name].final_target)
    return "\n".join(lines).rstrip() + "\n"


def entry(item: griffe.Object) -> list[str]:
    """Heading, place, signature and docstring of a public name, and of its public methods."""
    place = item.relative_filepath.as_posix()
    lines = ["", f"### {item.name}", "", f"[`{item.module.path}`](../{place})", ""]
    lines += ["```python", item.signature(), "```", "", *docstring(item.docstring.value if item.docstring else "")]
    if not item.is_class:
        return lines
    for name, member in item.all_members.items():
        member = member.final_target if member.is_alias else member
        own = not name.startswith("_") or name == "__call__"
        if not own or (not member.is_function and "property" not in member.labels) or member.docstring is None:
            continue
        head = member.signature() if member.is_function else f"{name}: {member.annotation}"
        lines += ["", f"**`{' '.join(head.split())}`**", "", *docstring(member.docstring.value)]
    return lines


def docstring(text: str) -> Iterator[str]:
    """A docstring as Markdown: sections in bold, their items as lists, examples as code."""
    section, code = "", False
    for line in text.splitlines():
        if code and not line.strip():
            yield "```"
            code = False
        if line.startswith(">>>") and not code:
            yield "```python"
            code = True
        if line.strip() in SECTIONS:
            section = line.strip()
            yield from ("", f"*{section}*", "")
        elif not section or code:
            yield line
        elif (item := re.match(r"  (\S[^:]*?):\s+(.*)", line)) and section != "Returns:":
            names = ", ".join(f"`{name.strip()}`" for name in item[1].split(","))
            yield f"- {names}: {item[2]}"
        else:
            yield f"  {line.strip()}" if section != "Returns:" else line.strip()
    if code:
        yield "```"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)} written\n")
