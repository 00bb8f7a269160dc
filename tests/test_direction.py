"""Which module may import which: foundation <- tools <- model space <- networks <- training <- programs."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = (
    {"errors", "cli", "camera", "representation", "metrics"},
    {
        "storage",
        "sparse",
        "survey",
        "manifest",
        "mesh",
        "texture",
        "raycast",
        "jobs",
        "capture",
        "render",
        "photo",
        "points",
    }
    | {"surface", "images", "objects", "preprocess", "folder", "shards", "packing", "image_set", "scoring", "results"},
    {"codec", "dataset"},
    {"models", "sampler", "solvers"},
    {"training"},
    {"config", "build", "evaluator", "evaluation", "report", "pipeline", "inference", "launch"},
)
"""A module may import its own level and those before it. One that is not listed has the level of its imports."""

TORCH = {"torch", "diffusers", "transformers", "accelerate"}
TOOLS = 1
PREPROCESSING = (
    ROOT / "preprocess/get_image/render.py",
    ROOT / "preprocess/get_xray/get_xray.py",
    ROOT / "scripts/pack_shards.py",
    ROOT / "scripts/merge_manifests.py",
    ROOT / "scripts/scan_dataset.py",
)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in (ROOT / "xray").rglob("*.py")}


@functools.cache
def imports(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    """(our modules, top names of others') that a file imports, anywhere in it."""
    package = name_of(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    ours, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parent = name.rpartition(".")[0]
            found = next((module for module in (name, parent) if module in MODULES), None)
            if found not in (None, "xray"):
                ours.add(found)
            elif name.partition(".")[0] != "xray":
                others.add(name.partition(".")[0])
    return frozenset(ours), frozenset(others)


def listed_level(module: str) -> int | None:
    part = module.split(".")[1]
    return next((level for level, names in enumerate(LEVELS) if part in names), None)


@functools.cache
def level(module: str) -> int:
    known = listed_level(module)
    if known is not None:
        return known
    return max((level(name) for name in imports(MODULES[module])[0]), default=0)


def reach(paths: list[Path]) -> dict[str, Path]:
    """All of our modules that some files import, directly or not."""
    found: dict[str, Path] = {}
    todo = list(paths)
    while todo:
        for name in imports(todo.pop())[0]:
            if name not in found:
                found[name] = MODULES[name]
                todo.append(MODULES[name])
    return found


def test_there_are_no_circles():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for name in sorted(imports(MODULES[module])[0]):
                visit(name, (*path, module))
            done.add(module)

    for module in sorted(set(MODULES) - {"xray"}):
        visit(module, ())


def test_imports_go_down_only():
    wrong = [
        f"{module} (level {level(module)}) imports {name} (level {level(name)})"
        for module in sorted(set(MODULES) - {"xray"})
        for name in sorted(imports(MODULES[module])[0])
        if level(name) > level(module)
    ]
    assert wrong == []


def test_listed_modules_are_there():
    parts = {module.split(".")[1] for module in MODULES if module != "xray"}
    assert set().union(*LEVELS) - parts == set()


def test_the_package_imports_no_entry():
    entries = {path.stem for path in [*ROOT.glob("*.py"), *(ROOT / "scripts").glob("*.py")]} | {"preprocess", "tests"}
    for module, path in MODULES.items():
        assert not imports(path)[1] & entries, module


def test_preprocessing_reaches_no_torch():
    tools = [MODULES[module] for module in MODULES if module != "xray" and listed_level(module) in (0, TOOLS)]
    for path in [*tools, *PREPROCESSING]:
        for name, module in {path.name: path, **reach([path])}.items():
            assert not imports(module)[1] & TORCH, f"{path.name} reaches {name}"


@pytest.mark.parametrize("path", PREPROCESSING, ids=lambda path: path.stem)
def test_preprocessing_loads_no_torch(path):
    """What static reading cannot see: the packages that the entry's imports load in turn."""
    code = (
        "import runpy, sys\n"
        f"runpy.run_path({str(path)!r}, run_name='imported')\n"
        f"print(sorted(set(sys.modules) & {TORCH!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
