"""sbatch, srun, scontrol and scancel of a cluster that is this machine: they start what job files start.

`install(folder)` writes the four commands; put the folder first on PATH. What runs on a node is what the process in
`<folder>/node-<i>.pid` started, so that a node can be lost. As Slurm does, sbatch runs a copy of the job file, in
the folder where it was called, with the values of its #SBATCH lines, command-line options first.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

COMMANDS = ("sbatch", "srun", "scontrol", "scancel")


def install(folder: Path, gpus: int = 1) -> dict[str, str]:
    """Write the commands; the environment to submit jobs with. `gpus`: processes that a job starts on each node."""
    for name in COMMANDS:
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        path.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_STUB": str(folder), "SLURM_STUB_GPUS": str(gpus)}


def options_of(script: Path, arguments: list[str]) -> dict[str, str]:
    """sbatch's long options: those of the command line win over the job file's."""
    pattern = r"--([\w-]+)(?:=(\S+))?"
    lines = re.findall(rf"^#SBATCH\s+{pattern}", script.read_text(), re.M)
    return dict(lines) | dict(re.findall(pattern, " ".join(arguments)))


def sbatch(arguments: list[str]) -> int:
    """Run a job, or every task of an array in turn, to its end; the worst status, as with --wait."""
    place = next(index for index, word in enumerate(arguments) if not word.startswith("-"))
    script, rest = Path(arguments[place]), arguments[place + 1 :]
    options = options_of(script, arguments[:place])
    job = os.environ.get("SLURM_STUB_JOB", "77")
    sys.stdout.write(f"Submitted batch job {job}\n")
    sys.stdout.flush()
    nodes = int(options.get("nodes", "1"))
    common = {
        "SLURM_JOB_ID": job,
        "SLURM_NNODES": str(nodes),
        "SLURM_JOB_NODELIST": f"localhost[{nodes}]",
        "SLURM_SUBMIT_DIR": str(Path.cwd()),
        "SLURM_GPUS_ON_NODE": os.environ["SLURM_STUB_GPUS"],
        "SLURM_CPUS_PER_TASK": os.environ.get("SLURM_STUB_CPUS", "1"),
    }
    if "array" not in options:
        return _job(script, rest, common, options["output"].replace("%j", job))
    first, last = map(int, options["array"].split("-"))
    status = 0
    for task in range(first, last + 1):
        array = {"TASK_ID": task, "TASK_MIN": first, "TASK_MAX": last, "TASK_COUNT": last - first + 1, "JOB_ID": job}
        env = common | {f"SLURM_ARRAY_{name}": str(value) for name, value in array.items()}
        log = options["output"].replace("%A", job).replace("%a", str(task))
        status = max(status, _job(script, rest, env, log))
    return status


def _job(script: Path, arguments: list[str], env: dict[str, str], log: str) -> int:
    """One batch script, copied as Slurm copies it, so that it cannot find its neighbours by its own path."""
    folder = Path(os.environ["SLURM_STUB"])
    copy = folder / "slurm_script"
    shutil.copy(script, copy)
    with (folder / log).open("a") as stream:
        process = subprocess.Popen(
            ["bash", str(copy), *arguments], env=os.environ | env, stdout=stream, stderr=stream, start_new_session=True
        )
    (folder / "batch.pid").write_text(str(process.pid))
    return process.wait()


def srun(arguments: list[str]) -> int:
    """The command once a node; with --kill-on-bad-exit=1 the others end when one ends badly."""
    place = next(index for index, word in enumerate(arguments) if not word.startswith("-"))
    folder = Path(os.environ["SLURM_STUB"])
    nodes = []
    for index in range(int(os.environ["SLURM_NNODES"])):
        env = os.environ | {"SLURM_NODEID": str(index), "SLURM_PROCID": str(index)}
        nodes.append(subprocess.Popen(arguments[place:], env=env, start_new_session=True))
        (folder / f"node-{index}.pid").write_text(str(nodes[-1].pid))
        if index == 0:
            _await_port(nodes[0])
    kill = "--kill-on-bad-exit=1" in arguments[:place]
    while None in [node.poll() for node in nodes]:  # each is asked: who is not asked has no status
        if kill and any(node.returncode for node in nodes):
            sys.stderr.write("srun: error: a task ended badly, the others are killed\n")
            for node in nodes:
                _signal_tree(node.pid, signal.SIGKILL)
            break
        time.sleep(0.05)
    return max(node.wait() % 256 for node in nodes)


def _await_port(first: subprocess.Popen) -> None:
    """Until the first node listens at the port where the nodes meet, if they do.

    Nodes that are one machine share its ports: another one would open it, and the first find it taken.
    """
    port = os.environ.get("MASTER_PORT")
    while port and first.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                return
        time.sleep(0.1)


def scontrol(arguments: list[str]) -> int:
    """show hostnames, one a line; requeue JOB, noted in `<folder>/requeued`."""
    if arguments[:2] == ["show", "hostnames"]:
        name, count = re.fullmatch(r"(\w+)\[(\d+)\]", arguments[2]).groups()
        sys.stdout.write(f"{name}\n" * int(count))
    elif arguments[0] == "requeue":
        (Path(os.environ["SLURM_STUB"]) / "requeued").write_text(arguments[1])
    return 0


def scancel(arguments: list[str]) -> int:
    """A signal to every process of the job's steps."""
    number = next(word.split("=")[1] for word in arguments if word.startswith("--signal="))
    for file in Path(os.environ["SLURM_STUB"]).glob("node-*.pid"):
        _signal_tree(int(file.read_text()), signal.Signals[f"SIG{number}"])
    return 0


def lose_node(folder: Path, index: int) -> None:
    """Kill everything on a node at once."""
    _signal_tree(int((folder / f"node-{index}.pid").read_text()), signal.SIGKILL)


def _signal_tree(leader: int, number: signal.Signals) -> None:
    """A process and all that it started: launchers put workers into sessions of their own."""
    try:
        processes = [psutil.Process(leader), *psutil.Process(leader).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
    if number == signal.SIGKILL:  # Slurm starts nothing again before all of it is gone, its ports too
        psutil.wait_procs(processes, 60)


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](sys.argv[2:]))
