"""Runs the steps of `gpu_steps` one after the other, each in a process with a time limit, and keeps a table of results.

See scripts/check_gpu.sh for the command. Nothing but the standard library and torch is needed to start.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from gpu_steps import ABSENT, CUT, FAILED, FULL, OK, TIMEOUT, Result, last_error
from gpu_steps.plan import STEPS, Step

ROOT = Path(__file__).resolve().parents[1]
NO_TIME = "no time"
LEAST_S = 5.0
"""With less time left than this, nothing is started."""
MARK = "XRAY_GPU_STEP"
"""Variable in the environment of all that a step starts."""

GONE_S = 30.0
"""What is killed is waited for so long: a process that writes to a GPU or a disk may need it."""


@dataclass
class Summary:
    """Results by step, in two files that are rewritten whole after every step."""

    folder: Path
    device: str
    results: dict[str, Result]

    @classmethod
    def open(cls, folder: Path, device: str) -> Summary:
        """With the results of an earlier run of the same device; SystemExit where they are of another."""
        path = folder / "summary.json"
        if not path.exists():
            return cls(folder, device, {})
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["device"] != device:
            raise SystemExit(f"error: {path}: results of --device {content['device']}, this is {device}; another --out")
        return cls(folder, device, {name: Result(**values) for name, values in content["steps"].items()})

    def put(self, name: str, result: Result) -> None:
        """Keep a result and rewrite both files."""
        self.results[name] = result
        content = {"device": self.device, "steps": {name: vars(result) for name, result in self.results.items()}}
        _replace(self.folder / "summary.json", json.dumps(content, indent=1) + "\n")
        _replace(self.folder / "summary.md", self.markdown())

    def markdown(self) -> str:
        """A table of all results, then one of the training steps."""
        lines = [f"# GPU check, --device {self.device}", "", "| step | result | seconds | what |", "|---|---|---|---|"]
        for name, result in self.results.items():
            lines.append(f"| {name} | {result.status} | {result.seconds:.0f} | {_cell(result.reason)} |")
        rows = [(name, result.values) for name, result in self.results.items() if "samples_a_second" in result.values]
        if rows:
            lines += ["", "Attention is PyTorch's own (SDPA) where xformers is not named.", ""]
            lines += ["| training step | batch | samples/s | peak memory, GiB | loss, difference from the CPU's |"]
            lines.append("|---|---|---|---|---|")
        for name, values in rows:
            off = "-" if "loss_difference" not in values else f"{values['loss_difference']:.1e}"
            rate, peak = f"{values['samples_a_second']:.3g}", f"{values['peak_gib']:.2f}"
            lines.append(f"| {name} | {values['batch']} | {rate} | {peak} | {off} |")
        return "\n".join(lines) + "\n"


def run_step(step: Step, options: argparse.Namespace, limit_s: float, python: str) -> Result:
    """One step in a process of its own; again with half the batch where the card's memory was too small for it."""
    missing = [name for name in step.needs if not _has(python, name)]
    if missing:
        return Result(ABSENT, f"{', '.join(missing)} not installed")
    began, batch, tried = time.monotonic(), 0, []
    while True:
        left = limit_s - (time.monotonic() - began)
        result = _run_process(step, options, left, python, batch)
        result.seconds = time.monotonic() - began
        if tried:
            result.reason = f"{result.reason}; out of memory with batch {', '.join(map(str, tried))}"
        if result.status != FULL or result.values["full_at"] == 1:
            return result
        tried.append(result.values["full_at"])
        batch = tried[-1] // 2


def _run_process(step: Step, options: argparse.Namespace, limit_s: float, python: str, batch: int) -> Result:
    """One step once, ended with all that it started when the time is up."""
    file = options.out / "steps" / f"{_slug(step.name)}.json"
    file.unlink(missing_ok=True)
    log = options.out / "logs" / f"{_slug(step.name)}.log"
    command = [python, "-m", "gpu_steps", step.name, "--device", options.device, "--out", str(options.out)]
    command += ["--batch", str(batch), "--runner", str(os.getpid()), "--result", str(file)]
    mark = f"{MARK}={os.getpid()}-{time.monotonic_ns()}"
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True,
            env=environment(options) | dict([mark.split("=")]),
        )  # fmt: skip
        late = False
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            _kill(process, mark)
    text = log.read_text(encoding="utf-8", errors="replace")
    if late:
        return Result(TIMEOUT, f"stopped after {limit_s:.0f} s; {log.name}: {last_error(text)}")
    if not file.exists():
        return Result(FAILED, f"status {process.returncode}; {log.name}: {last_error(text)}")
    return Result(**json.loads(file.read_text(encoding="utf-8")))


def environment(options: argparse.Namespace) -> dict[str, str]:
    """For a step: the packages of this repository, what was compiled before, and no GPU to check the CPU."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if options.device == "cpu" else {}
    hidden["TORCHINDUCTOR_CACHE_DIR"] = str(options.out / "compiled")
    quiet = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    return os.environ | {"PYTHONPATH": os.pathsep.join(_paths())} | quiet | hidden


def install_wheels(folder: Path, out: Path) -> tuple[str, list[str]]:
    """A Python with this one's packages and those of the wheels that are missing here, and lines of what was not right.

    torch and what belongs to its CUDA build are never taken from the folder.
    """
    own = re.compile(r"(torch|nvidia|cuda|triton)([-_].*)?$")
    wheels, lines = [], []
    for path in sorted(folder.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        if own.match(name.lower()):
            lines.append(f"{path.name}: left out, this machine's own is used")
        elif _version(name) != version:
            wheels.append(path)
    if not wheels:
        return sys.executable, [*lines, f"{folder}: no wheel that is not installed here already"]
    python = out / "venv/bin/python"
    if not python.exists():
        # Not --system-site-packages alone: where this Python is itself an environment, that would mean its base.
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(out / "venv")], check=True)
        (site,) = (out / "venv/lib").glob("python*/site-packages")
        (site / "inherited.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    done = subprocess.run([*pip, *map(str, wheels)], capture_output=True, text=True)
    for path in wheels if done.returncode else ():  # one by one, so that a wrong one costs itself alone
        done = subprocess.run([*pip, str(path)], capture_output=True, text=True)
        if done.returncode:
            lines.append(f"{path.name}: not installed ({' '.join(done.stderr.split())[-160:]})")
    return str(python), [*lines, f"{len(wheels)} wheels of {folder} for {python}"]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description="Check and measure what runs on a GPU; see scripts/check_gpu.sh")
    parser.add_argument("--minutes", type=float, default=20.0, help="for all steps together")
    parser.add_argument("--out", type=Path, default=ROOT / "Output/check_gpu")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: tiny sizes, to test the steps")
    parser.add_argument("--wheels", type=Path, help="folder of wheels for packages that are missing here")
    parser.add_argument("--patience", type=float, default=1.0, help="times the steps' own limits, for a busy machine")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="these steps, also where they have a result")
    options = parser.parse_args(arguments)
    if options.minutes <= 0:
        parser.error(f"--minutes {options.minutes:g}: expected more than 0")
    if options.wheels and not options.wheels.is_dir():
        parser.error(f"--wheels {options.wheels}: no such folder")
    unknown = set(options.only or ()) - {step.name for step in STEPS}
    if unknown:
        parser.error(f"--only {', '.join(sorted(unknown))}: expected some of: {', '.join(step.name for step in STEPS)}")
    options.out = options.out.resolve()
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the steps; 0, or 3 where one failed, was late or found too little memory."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running step is ended too
    end = time.monotonic() + options.minutes * 60
    for name in ("logs", "steps"):
        (options.out / name).mkdir(parents=True, exist_ok=True)
    if options.device == "cuda" and not _cuda():
        raise SystemExit("error: torch sees no CUDA device here; --device cpu tries the steps at tiny size without one")
    python = sys.executable
    if options.wheels:
        python, lines = install_wheels(options.wheels, options.out)
        _say(*lines)
    summary = Summary.open(options.out, options.device)
    for step in STEPS:
        before = summary.results.get(step.name)
        if step.name not in (options.only or [step.name]):
            continue
        if not options.only and before and before.status in (OK, FAILED, FULL, ABSENT):
            _say(f"{step.name}: {before.status} before, kept")
            continue
        left = end - time.monotonic()
        if left < LEAST_S:
            result = Result(NO_TIME, f"{options.minutes:g} minutes were over")
        else:
            summary.put(step.name, Result(CUT, "was running when this run was cut off"))
            result = run_step(step, options, min(step.limit_s * options.patience, left), python)
        summary.put(step.name, result)
        _say(f"{step.name}: {result.status} in {result.seconds:.0f} s: {result.reason}")
    counts = [result.status for result in summary.results.values()]
    _say(", ".join(f"{counts.count(status)} {status}" for status in dict.fromkeys(counts)))
    _say(str(summary.folder / "summary.md"))
    return 3 if any(status in (FAILED, FULL, TIMEOUT) for status in counts) else 0


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _has(python: str, package: str) -> bool:
    if python == sys.executable:
        return importlib.util.find_spec(package) is not None
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _paths() -> list[str]:
    own = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "scripts")]
    rest = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in own]
    return [*own, *rest]


def _kill(process: subprocess.Popen, mark: str) -> None:
    """End what a step may have left running, itself included.

    What torchrun starts has a session of its own, so that no signal to the step's group reaches it; it is known by an
    entry of its environment, which all that a step starts has. A process is there for a moment after its signal, and so
    is its memory: the next step begins when it is gone, or after `GONE_S`.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until = time.monotonic() + GONE_S
    while (left := _marked(mark)) and time.monotonic() < until:
        for number in left:
            with contextlib.suppress(OSError):  # it ended
                os.kill(number, signal.SIGKILL)
        time.sleep(0.01)


def _marked(mark: str) -> list[int]:
    """Numbers of the running processes that have the mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it ended, or is another user's
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
