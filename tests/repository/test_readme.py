"""Every command of the README runs: on a copy of the repository, on the example meshes, at the smallest size."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from helpers.forked import python

ROOT = Path(__file__).parents[2]

WITHOUT_TORCH = ("preprocess/make_dataset.py", "preprocess/get_image/render.py", "preprocess/get_xray/get_xray.py")

TINY = "codec.resolution=16 train.max_steps=2 train.checkpoint_every=2 train.warmup_steps=0 data.num_workers=0"

RULES = [
    # The two whole commands are run by continuous integration (this test is part of one) and by hand; here, that
    # bash can read them.
    (r"bash (scripts/run_(?:example|tests)\.sh)", r"bash -n \1"),
    (r"(python preprocess/make_dataset\.py.*)", r"\1 --num_views 2 --image_size 128 --workers 1"),
    (r"(python preprocess/get_image/.*)", r"\1 --num_views 2 --image_size 128 --workers 1"),
    (r"(python preprocess/get_xray/.*)", r"\1 --workers 1"),
    # The published sizes need a GPU and the hub: the same command resolves its configuration, then the example's
    # configuration takes its place.
    (
        r"(python -m xray\.training\.launch train_(\w+)\.py --config )configs/\w+\.yaml(.*)",
        rf"\1configs/example_\2.yaml\3 {TINY}",
    ),
    (r"(bash scripts/train_\w+\.sh.*)", r"\1 --dry_run"),
    (r"(python evaluate_diffusion\.py .*)", r"\1 --split all --max_samples 2 --steps 2"),
    (r"(python evaluate_upsampler\.py .*)", r"\1"),
    (r"(python infer\.py .*)", r"\1 --steps 2"),
    (r"(python demo\.py)", r"\1 --port 0"),
]


def blocks(language: str) -> list[str]:
    """The fenced blocks of the README in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def commands() -> list[str]:
    """Every line of the bash blocks."""
    return [line for block in blocks("bash") for line in block.splitlines() if line.strip()]


def translate(command: str) -> str:
    """What the test runs for a command; a command without a rule is an error."""
    for pattern, replacement in RULES:
        if re.fullmatch(pattern, command):
            return re.sub(pattern, replacement, command)
    raise AssertionError(f"README command without a rule in this test: {command}")


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of the repository as git has it, with the example meshes as the user's own."""
    root = tmp_path_factory.mktemp("clone")
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    for name in files.stdout.decode().splitlines():
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "example/meshes", root / "Data/mine/meshes")
    return root


def environment(folder: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}


def run(command: str, folder: Path) -> None:
    """Run a line in bash; one that needs torch in a copy of this process, which has it."""
    program, *words = command.split()
    if program == "python" and words[0] not in WITHOUT_TORCH and "\n" not in command:
        log = folder / "command.log"
        log.unlink(missing_ok=True)
        process = python(words, folder, log, lambda: os.environ.update(environment(folder)))
        status = opened(process, log) if words[0] == "demo.py" else process.wait(600)
        assert status == 0, f"{command}\nstatus {status}\n{log.read_text()[-4000:]}"
        return
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=os.environ | environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\nstatus {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def opened(process, log: Path) -> int:
    """0 once the page can be opened; it serves until it is ended."""
    while not (found := re.search(r"^open (\S+)", log.read_text(), re.MULTILINE)):
        if process.poll() is not None:
            return process.poll() or 1
        time.sleep(0.1)
    with urllib.request.urlopen(found[1], timeout=300) as page:
        status = page.status
    process.send_signal(signal.SIGTERM)
    process.wait(300)
    return 0 if status == 200 else status


@pytest.mark.slow
def test_every_command_runs_in_the_order_of_the_readme(copy):
    for command in commands():
        if "--config configs/" in command:
            run(f"{command} --dry_run", copy)
        run(translate(command), copy)
    evaluated = sorted((copy / "Output").glob("mine*/evaluate/*/report.html"))
    assert len(evaluated) == 2
    assert list((copy / "Output/mine_upsampler/evaluate").rglob("*.glb"))


def test_every_python_block_runs(copy):
    for block in blocks("python"):
        run(f"python - <<'END'\n{block}\nEND", copy)


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text()):
        assert link.startswith("https://") or (ROOT / link).exists(), link
