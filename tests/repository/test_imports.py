"""Which package may import which, as README's architecture section says, and that preprocessing needs no torch."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEVELS = (
    {"common"},
    {"config", "core"},
    {"mesh"},
    {"raycast"},
    {"data", "surface", "metrics"},
    {"preprocess", "visual", "models"},
    {"training"},
    {"inference"},
    {"evaluate"},
    {"demo", "recipes"},
    {"commands"},
)
"""A package (or module beside them) may import itself and those of earlier levels."""

TORCH = {"torch", "diffusers", "transformers", "accelerate"}
WITHOUT_TORCH = ("common", "core", "mesh", "raycast", "data", "surface", "metrics", "preprocess", "visual")
"""Nothing in these packages may import torch when it is imported, but for the modules named below."""

NEEDS_TORCH = {"xray.core.codec", "xray.data.dataset"}
"""The way from files into tensors."""

PREPROCESSING = sorted(path for path in (ROOT / "preprocess").rglob("*.py") if path.name != "blender_scene.py") + [
    ROOT / "scripts" / f"{name}.py" for name in ("pack_shards", "merge_manifests", "scan_dataset")
]


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


def level(module: str) -> int:
    part = module.split(".")[1]
    return next(number for number, names in enumerate(LEVELS) if part in names)


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


def test_every_package_has_a_level():
    parts = {module.split(".")[1] for module in MODULES if module != "xray"}
    assert parts - set().union(*LEVELS) == set()


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


def test_imports_go_one_way():
    wrong = [
        f"{module} (level {level(module)}) imports {name} (level {level(name)})"
        for module in sorted(set(MODULES) - {"xray"})
        for name in sorted(imports(MODULES[module])[0])
        if level(name) > level(module)
    ]
    assert wrong == []


def test_packages_of_one_level_do_not_import_each_other():
    wrong = [
        f"{module} imports {name}"
        for module in sorted(set(MODULES) - {"xray"})
        for name in sorted(imports(MODULES[module])[0])
        if level(name) == level(module) and name.split(".")[1] != module.split(".")[1]
    ]
    assert wrong == []


def test_the_package_imports_no_entry():
    entries = {path.stem for path in [*ROOT.glob("*.py"), *(ROOT / "scripts").glob("*.py")]} | {"tests"}
    for module, path in MODULES.items():
        assert not imports(path)[1] & entries, module


def test_preprocessing_reaches_no_torch():
    tools = [
        path for module, path in MODULES.items() if module.count(".") > 1 and module.split(".")[1] in WITHOUT_TORCH
    ]
    tools = [path for path in tools if name_of(path) not in NEEDS_TORCH]
    for path in [*tools, *PREPROCESSING]:
        for name, module in {path.name: path, **reach([path])}.items():
            assert not imports(module)[1] & TORCH, f"{path.name} reaches {name}"


def test_modules_that_texts_name_are_there():
    """In strings that other processes run, documentation, scripts: no import fails there when tests are collected."""
    named = re.compile(r"\b(?:from|import|-m) (xray(?:\.\w+)+)")
    texts = [
        path
        for folder in ("xray", "tests", "docs", "scripts", "example", "benchmarks", "configs", "preprocess")
        for ending in ("py", "md", "sh", "sbatch", "yaml")
        for path in (ROOT / folder).rglob(f"*.{ending}")
    ]
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in [*texts, *ROOT.glob("*.py"), *ROOT.glob("*.md")]
        for name in named.findall(path.read_text(encoding="utf-8"))
        if name not in MODULES
    }
    assert missing == set()


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
