"""The job file, with stand-ins for the scheduler's own three commands; the launcher and the training are real."""

import os
import signal
import subprocess
import time

from tiny_runs import make_data
from training_runs import ROOT, arguments

from xray.training import checkpoint

COMMANDS = {
    "srun": """shift; exec setsid -w bash -c 'echo $$ > "$STATE/step"; exec "$@"' step "$@" """,
    "scancel": 'kill -USR1 -- "-$(cat "$STATE/step")"  # every process of the step, as slurm does',
    "scontrol": 'case "$1" in show) echo localhost;; requeue) echo "$2" > "$STATE/requeued";; esac',
}
LAUNCH = """
compute_environment: LOCAL_MACHINE
distributed_type: 'NO'
num_machines: 1
num_processes: 1
machine_rank: 0
mixed_precision: 'no'
use_cpu: true
"""


def test_the_job_saves_on_the_signal_is_requeued_and_goes_on(tmp_path):
    data, output, log = make_data(tmp_path / "data"), tmp_path / "out", tmp_path / "log"
    for name, body in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "launch.yaml").write_text(LAUNCH)
    _, config, *overrides = arguments("diffusion", data, output, "train.checkpoint_every=5000")
    slurm = {"JOB_NODELIST": "localhost", "JOB_ID": "77", "GPUS_ON_NODE": "1", "NNODES": "1", "NODEID": "0"}
    env = os.environ | {f"SLURM_{name}": value for name, value in slurm.items()}
    env |= {"STATE": str(tmp_path), "CONFIG": config, "ACCELERATE_CONFIG": str(tmp_path / "launch.yaml")}
    env |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}

    def submit(max_steps: int) -> subprocess.Popen:
        command = ["bash", "scripts/slurm/train.sbatch", "diffusion", *overrides, f"train.max_steps={max_steps}"]
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=log.open("a"), stderr=subprocess.STDOUT)

    job = submit(5000)
    while "from step 0 to 5000" not in log.read_text():
        assert job.poll() is None, log.read_text()[-2000:]
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(90) == 0, log.read_text()[-2000:]
    (step,) = checkpoint.steps(output)
    assert (tmp_path / "requeued").read_text().strip() == "77"
    (tmp_path / "requeued").unlink()

    assert submit(step + 1).wait(90) == 0, log.read_text()[-2000:]
    assert checkpoint.steps(output)[-1] == step + 1
    assert f"going on from step {step}" in log.read_text()
    assert not (tmp_path / "requeued").exists()
