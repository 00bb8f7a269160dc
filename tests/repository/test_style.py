"""What holds for every file: ruff, sizes, and nothing that is true on one machine only."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MACHINE_PATH = re.compile(rb"(?<![\w.~])/(?:work|tmp|root|home|Users|mnt)/[\w.]")
FILE_LINES, FUNCTION_LINES = 500, 70
"""Longest file, and longest function: about a screen."""
FOLDER_FILES = 11
"""Most modules side by side in one package."""


def ruff(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "ruff", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [("check", "."), ("format", "--check", ".")], ids=" ".join)
def test_ruff_has_nothing_to_say(arguments):
    done = ruff(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def modules() -> list[Path]:
    return sorted((ROOT / "xray").rglob("*.py"))


def test_files_can_be_read_in_one_sitting():
    assert {str(path.relative_to(ROOT)): lines(path) for path in modules() if lines(path) > FILE_LINES} == {}


def test_functions_fit_on_a_screen():
    long = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= FUNCTION_LINES:
                long[f"{path.relative_to(ROOT)}:{node.name}"] = node.end_lineno - node.lineno + 1
    assert long == {}


def test_a_package_can_be_taken_in_at_a_glance():
    counts = {path: len(list(path.glob("*.py"))) for path in [ROOT / "xray", *(ROOT / "xray").glob("*/")]}
    assert {str(path.relative_to(ROOT)): count for path, count in counts.items() if count > FOLDER_FILES + 1} == {}


def test_entries_are_thin():
    inside_blender = "blender_scene.py"  # runs in Blender's own Python, which lacks this package
    entries = [*ROOT.glob("*.py"), *(ROOT / "preprocess").rglob("*.py")]
    entries = [path for path in entries if path.name != inside_blender]
    assert len(entries) >= 6
    assert {path.name: lines(path) for path in entries if lines(path) >= 80} == {}


def tracked() -> list[Path]:
    """The files that git knows; of a copy without git, all but the ignored folders."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if done.returncode == 0 and done.stdout:
        return [ROOT / name for name in done.stdout.decode().split("\0") if name]
    ignored = {".venv", "Output", "Data", "__pycache__", ".git", ".pytest_cache", ".ruff_cache"}
    return [path for path in ROOT.rglob("*") if not ignored & set(path.relative_to(ROOT).parts)]


def test_no_file_names_a_path_of_one_machine():
    found = {}
    for path in tracked():
        if path.is_file() and path != Path(__file__):
            content = path.read_bytes()
            if b"\0" not in content[:1024] and (match := MACHINE_PATH.search(content)):
                found[str(path.relative_to(ROOT))] = match.group().decode()
    assert found == {}
