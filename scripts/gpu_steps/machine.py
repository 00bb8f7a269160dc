"""What this machine is, and the tests that are marked for a GPU."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys

import torch

from . import FAILED, OK, ROOT, Result, Settings

PACKAGES = (
    *("diffusers", "transformers", "accelerate", "numpy", "warp-lang", "xformers", "bitsandbytes", "deepspeed"),
    *("triton", "bpy", "pytest", "tensorboard"),
)


def describe(settings: Settings) -> Result:
    """Versions, cards, and what is not installed."""
    found, missing = {}, []
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    values = {"python": platform.python_version(), "torch": torch.__version__, "cores": os.cpu_count(), **found}
    reason = f"torch {torch.__version__}, {os.cpu_count()} cores"
    if settings.device == "cuda":
        cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        values["cards"] = [f"{card.name}, {card.total_memory / 2**30:.1f} GiB" for card in cards]
        values["cuda"] = torch.version.cuda
        values["bf16"] = torch.cuda.is_bf16_supported()
        reason = f"{'; '.join(values['cards'])}; CUDA {torch.version.cuda}, {reason}"
    absent = f"; absent: {', '.join(missing)}" if missing else ""
    return Result(OK, reason + absent, values=values)


def run_tests(settings: Settings) -> Result:
    """`pytest -m gpu` on the files that have such tests; the reasons of what was skipped are in the log."""
    # The others would be imported for nothing, and need packages that such a machine may lack.
    files = [
        str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu\n" in path.read_text("utf-8")
    ]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout + done.stderr)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    last = lines[-1].strip("= ") if lines else "no output"
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    status = OK if done.returncode == 0 else FAILED
    return Result(status, "; ".join([last, *failed[:3]])[:400], values=counts)
