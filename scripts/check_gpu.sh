#!/usr/bin/env bash
# Checks and measures everything that runs on a GPU, most worthwhile first; stops within --minutes, keeps what it has.
#   bash scripts/check_gpu.sh [--minutes 20] [--out Output/check_gpu] [--device cuda|cpu] [--wheels DIR] [--only STEP ...]
# It needs no network: Python with torch (PYTHON=..., else .venv, else python3), and takes other packages from the wheels
# in DIR where they are missing, into an environment below --out. What is not installed is a line in the table.
# The same command again does the steps that have no result yet. A folder of wheels, made where there is a network:
#   pip download -r requirements.txt -r requirements-gpu.txt --dest DIR
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python
fi
if ! "$PYTHON" -c 'import torch' 2>/dev/null; then
    echo "error: $PYTHON cannot import torch; set PYTHON=/path/to/python with torch for this machine's GPU" >&2
    exit 2
fi
export PYTHONPATH="$PWD:$PWD/benchmarks:$PWD/scripts${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
exec "$PYTHON" scripts/check_gpu.py "$@"
