"""One step, by name; the result goes to a file: python -m gpu_steps NAME --device D --out DIR --result FILE."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from . import ABSENT, Absent, Result, Settings
from .plan import STEPS

parser = argparse.ArgumentParser()
parser.add_argument("name")
parser.add_argument("--device", required=True)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--result", type=Path, required=True)
options = parser.parse_args()
(step,) = (step for step in STEPS if step.name == options.name)
function = getattr(importlib.import_module(f"gpu_steps.{step.module}"), step.function)
try:
    result = function(Settings(options.device, options.out), **step.arguments)
except Absent as error:
    result = Result(ABSENT, str(error))
options.result.write_text(json.dumps(vars(result)), encoding="utf-8")
