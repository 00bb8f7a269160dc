"""One step, by name; the result goes to a file: python -m gpu_steps NAME --device D --out DIR --result FILE."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import threading
import time
from pathlib import Path

from . import ABSENT, Absent, Result, Settings
from .plan import STEPS


def follow(runner: int) -> None:
    """End this process and its group when the runner has gone: a kill -9 leaves it no time to do so."""
    while os.getppid() == runner:
        time.sleep(0.2)
    os.killpg(os.getpgrp(), signal.SIGKILL)


parser = argparse.ArgumentParser()
parser.add_argument("name")
parser.add_argument("--device", required=True)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--result", type=Path, required=True)
parser.add_argument("--batch", type=int, default=0)
parser.add_argument("--runner", type=int, required=True, help="number of the process that starts this one")
options = parser.parse_args()
threading.Thread(target=follow, args=(options.runner,), daemon=True).start()
(step,) = (step for step in STEPS if step.name == options.name)
function = getattr(importlib.import_module(f"gpu_steps.{step.module}"), step.function)
try:
    result = function(Settings(options.device, options.out, options.batch), **step.arguments)
except Absent as error:
    result = Result(ABSENT, str(error))
options.result.write_text(json.dumps(vars(result)), encoding="utf-8")
