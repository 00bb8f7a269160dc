"""Every command of the README runs: on a copy of the repository, on the example meshes, at the smallest size."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

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
    # It serves until it is ended: here, until its page can be opened.
    (
        r"(python demo\.py)",
        r"""\1 --port 0 > demo.log 2>&1 & demo=$!
        for second in $(seq 300); do grep -q "^open http" demo.log && break || sleep 1; done
        python -c "import urllib.request as u; u.urlopen(open('demo.log').read().split('open ')[1].split()[0])"
        status=$?; kill $demo; exit $status""",
    ),
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


def run(command: str, cwd: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {
        "PATH": path,
        "PYTHONPATH": str(cwd),
        "HF_HUB_OFFLINE": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    done = subprocess.run(["bash", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\nstatus {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


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
