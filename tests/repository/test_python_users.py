"""What Python users meet first: the public names, the page about them, the examples, the `xray` command."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import trimesh

import xray
from xray.commands.main import COMMANDS, main
from xray.core.storage import load_xray
from xray.mesh.ply import load_ply

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "api.md"


def run(*command: str, **options) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, **options)


def example(name: str, *arguments: str) -> subprocess.CompletedProcess:
    done = run(str(ROOT / "docs" / "examples" / f"{name}.py"), *arguments, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_every_public_name_is_there_and_its_own():
    assert sorted(xray.__all__) == sorted(xray._HOMES)
    assert set(xray.__all__) <= set(dir(xray))
    for name in xray.__all__:
        value = getattr(xray, name)
        assert value.__name__ == name
        assert value.__module__ == f"xray.{xray._HOMES[name]}"
        assert value.__doc__, name
        assert getattr(xray, name) is value
    with pytest.raises(AttributeError, match="nothing"):
        _ = xray.nothing


def test_names_are_loaded_when_they_are_used():
    heavy = "{'torch', 'warp', 'trimesh', 'diffusers', 'scipy', 'numpy'}"
    code = f"import sys, xray; assert not {heavy} & sys.modules.keys(); xray.XRay, xray.Camera, xray.load_xray; "
    code += "xray.load_mesh, xray.cast_mesh; assert 'torch' not in sys.modules"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


def test_the_tour_is_true(monkeypatch):
    """The examples of the docstring that need no network, as they stand there."""
    monkeypatch.chdir(ROOT)
    tour = [line[4:] for line in xray.__doc__.splitlines() if line.startswith(">>> ") and "Pipeline" not in line]
    names: dict = {}
    for line in tour:
        exec(line, names)
    assert len(names["cloud"]) == names["shape"].hit.sum() > 10_000


@pytest.mark.skipif(
    importlib.util.find_spec("griffe") is None, reason="needs griffe: pip install -r requirements-dev.txt"
)
def test_the_page_is_what_the_docstrings_say():
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    make_api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_api)
    assert PAGE.read_text(encoding="utf-8") == make_api.page(), "stale: run python docs/make_api.py"


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md")))
def test_links_of_the_docs_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in re.findall(r"^#+ (.*)", text, re.M)
    }
    for link in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        if path.startswith("https://"):
            continue
        assert (ROOT / page).parent.joinpath(path).exists() if path else anchor in anchors, f"{page}: {link}"


def test_a_mesh_becomes_an_xray(tmp_path):
    done = example("mesh_to_xray", "example/meshes/mug.obj", str(tmp_path / "mug"))
    shape = load_xray(tmp_path / "mug.npz").validate()
    assert shape.hit.sum() == len(load_ply(tmp_path / "mug.ply")) > 10_000
    assert str(shape.hit[0].sum()) in done.stdout


def test_meshes_become_a_dataset(tmp_path):
    (tmp_path / "meshes").mkdir()
    trimesh.creation.icosphere(2).export(tmp_path / "meshes" / "ball.ply")
    example("meshes_to_dataset", str(tmp_path / "meshes"), str(tmp_path / "data"))
    dataset = xray.XRayDataset(tmp_path / "data", xray.Codec(resolution=64), "all", 64)
    assert len(dataset) == 2
    assert (dataset[0]["xray"][:, 7] > 0).any()


def test_a_picture_becomes_a_mesh(tmp_path):
    example("picture_to_mesh", "example/pictures/mug.png", str(tmp_path / "mug.glb"))
    assert len(trimesh.load(tmp_path / "mug.glb", force="mesh").faces) > 100


def test_the_command_has_every_sub_command(capsys):
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["xray"]
    assert script == "xray.commands.main:main"
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in COMMANDS)
    assert main([]) == 2
    assert main(["rendr"]) == 2
    assert "'rendr' is no command of xray; expected one of render, " in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_a_sub_command_explains_itself(name, capsys):
    stages = ["diffusion"] if name in ("train", "evaluate") else []
    with pytest.raises(SystemExit) as ended:
        main([name, *stages, "--help"])
    assert ended.value.code == 0
    assert f"usage: {' '.join(['xray', name, *stages])} " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["train", "evaluate"])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_a_sub_command_of_stages_names_them(name, flag, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, flag])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: xray {name} {{diffusion,upsampler}}" in printed
    assert all(f"xray {name} {stage} --help" in printed for stage in ("diffusion", "upsampler"))


def test_a_wrong_stage_is_one_line(capsys):
    for name in ("train", "evaluate"):
        assert main([name, "difusion"]) == 2
        assert f"expected `{name} diffusion|upsampler`" in capsys.readouterr().err


def test_the_page_says_what_it_lacks(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else found(name))
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "error: the page needs gradio: pip install -r requirements-demo.txt\n"


@pytest.mark.slow
def test_an_installed_package_has_the_command_and_says_what_it_lacks(tmp_path):
    """The wheel in a folder of its own, away from the repository."""
    build = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    done = run(*build, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    target = tmp_path / "installed"
    (wheel,) = tmp_path.glob("xray-*.whl")
    install = ["-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run([sys.executable, *install], check=True, cwd=tmp_path)
    environment = os.environ | {"PYTHONPATH": str(target), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    def call(*arguments: str) -> subprocess.CompletedProcess:
        command = [str(target / "bin" / "xray"), *arguments]
        return subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert "usage: xray COMMAND" in call("--help").stdout
    picture = str(ROOT / "example" / "pictures" / "mug.png")
    done = call("infer", "--image", picture, "--output", "out")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "comes with the repository" in line
