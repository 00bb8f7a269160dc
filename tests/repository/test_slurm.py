"""The job files, on a Slurm of this machine alone; launchers, trainings and processes are real."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers.slurm_stub import install, lose_node
from helpers.tiny_runs import make_data
from helpers.training_runs import ROOT, arguments

from xray.data.manifest import read_manifest
from xray.training import checkpoint

PATIENCE_S = 900
"""A training starts in seconds; a machine that is busy otherwise may take a hundred times as long."""


class Cluster:
    """Submits jobs and reads their log."""

    def __init__(self, folder: Path):
        self.folder, self.log, self.jobs = folder, folder / "train.77.log", []
        self.data, self.output = make_data(folder / "data"), folder / "out"
        # What a job starts has no GPU here, also where the machine has one.
        self.env = os.environ | install(folder) | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def submit(self, nodes: int, max_steps: int, every: int = 5000, **env: str) -> subprocess.Popen:
        """The training as a job; `every`: steps between checkpoints."""
        _, config, *overrides = arguments("diffusion", self.data, self.output, f"train.checkpoint_every={every}")
        command = [self.folder / "sbatch", f"--nodes={nodes}", "--wait", "scripts/slurm/train.sbatch", "diffusion"]
        command += [*overrides, f"train.max_steps={max_steps}"]
        env = self.env | {"CONFIG": config, **env}
        self.jobs.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL))
        return self.jobs[-1]

    def read(self) -> str:
        """What all jobs have written so far."""
        return self.log.read_text() if self.log.exists() else ""

    def wait_for(self, text: str, job: subprocess.Popen) -> None:
        """Until the log has the text; the job must be running then."""
        while text not in self.read():
            assert job.poll() is None, self.read()[-2000:]
            time.sleep(0.05)

    def signal_the_script(self) -> None:
        """As `#SBATCH --signal=B:USR1@300` does."""
        os.kill(int((self.folder / "batch.pid").read_text()), signal.SIGUSR1)


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    for job in cluster.jobs:  # a test that failed leaves processes behind
        if job.poll() is None:
            for process in [*psutil.Process(job.pid).children(recursive=True), job]:
                process.kill()


ONE_PROCESS = """
compute_environment: LOCAL_MACHINE
distributed_type: 'NO'
num_machines: 1
num_processes: 1
machine_rank: 0
mixed_precision: 'no'
use_cpu: true
"""
"""configs/accelerate/ddp.yaml wants two processes."""


def test_the_job_saves_on_the_signal_is_requeued_and_goes_on(cluster, tmp_path):
    (tmp_path / "launch.yaml").write_text(ONE_PROCESS)
    env = {"ACCELERATE_CONFIG": str(tmp_path / "launch.yaml")}
    job = cluster.submit(1, 5000, **env)
    cluster.wait_for("from step 0 to 5000", job)
    cluster.signal_the_script()
    assert job.wait(PATIENCE_S) == 0, cluster.read()[-2000:]
    (step,) = checkpoint.steps(cluster.output)
    assert (tmp_path / "requeued").read_text().strip() == "77"
    (tmp_path / "requeued").unlink()

    assert cluster.submit(1, step + 1, **env).wait(PATIENCE_S) == 0, cluster.read()[-2000:]
    assert checkpoint.steps(cluster.output)[-1] == step + 1
    assert f"going on from step {step}" in cluster.read()
    assert not (tmp_path / "requeued").exists()


def test_two_nodes_train_one_network_and_go_on_after_one_is_lost(cluster):
    """docs/cluster.md: the launch file of many GPUs, one process a node, joined over the network."""
    job = cluster.submit(2, 5000, every=3)
    cluster.wait_for("from step 0 to 5000: 2 processes x batch 1 x 1 micro-batches", job)
    while not checkpoint.steps(cluster.output):
        assert job.poll() is None, cluster.read()[-2000:]
        time.sleep(0.05)
    lose_node(cluster.folder, 1)
    assert job.wait(PATIENCE_S) != 0
    step = checkpoint.steps(cluster.output)[-1]

    # Slurm starts a job that lost a node again by itself (--requeue); it is the same command.
    assert cluster.submit(2, step + 1).wait(PATIENCE_S) == 0, cluster.read()[-2000:]
    again = cluster.read().split("going on from step ")[-1]
    assert again.startswith(f"{step}\n")
    assert f"from step {step} to {step + 1}: 2 processes" in again
    assert checkpoint.steps(cluster.output)[-1] == step + 1


def test_an_array_makes_a_data_set_whose_parts_are_joined(tmp_path):
    """docs/cluster.md: three objects in two parts, one of them a mesh that cannot be read."""
    meshes, data = tmp_path / "meshes", tmp_path / "data"
    meshes.mkdir()
    for name in ("cabin.glb", "lamp.glb"):
        shutil.copy(ROOT / "example/meshes" / name, meshes)
    (meshes / "broken.obj").write_text("f 1 2 3\n")
    env = os.environ | install(tmp_path) | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    flags = ["--num_views", "1", "--image_size", "64", "--resolution", "32"]
    command = [tmp_path / "sbatch", "--array=0-1", "--wait", "scripts/slurm/make_dataset.sbatch", meshes, data, *flags]
    done = subprocess.run(command, cwd=ROOT, env=env, timeout=PATIENCE_S, capture_output=True, text=True)
    logs = "".join((tmp_path / f"make_dataset.77_{task}.log").read_text() for task in (0, 1))
    assert done.returncode == 3, logs
    join = [sys.executable, "scripts/merge_manifests.py", "--data_root", data]
    done = subprocess.run(join, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines()[-1].endswith("3 rows of 2 manifests, 1 of them failed")
    status = {row.object: row.status for row in read_manifest(data / "manifest.csv")}
    assert status == {"cabin": "accepted", "lamp": "accepted", "broken": "failed"}
