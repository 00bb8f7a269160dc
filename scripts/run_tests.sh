#!/usr/bin/env bash
# Sets up .venv and runs the tests. Arguments go to pytest: bash scripts/run_tests.sh tests/core/test_camera.py -k rays
set -euo pipefail
EXTRA="requirements-train.txt requirements-demo.txt requirements-dev.txt"
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

# One thread a process: the tests run side by side, a process a core.
cores=$(env -u OMP_NUM_THREADS nproc) # nproc prints that variable where it is set
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
exec python -m pytest -n "$cores" --dist loadfile --no-loadscope-reorder "$@"
