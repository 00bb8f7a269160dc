#!/usr/bin/env bash
# Evaluates a trained diffusion model on the objects kept for testing, on every GPU of the machine (or the CPU).
# bash scripts/evaluate_diffusion.sh NAME [DATA_ROOT [flags of evaluate_diffusion.py ...]]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

name=${1:-Objaverse_XRay}
data=${2:-Data/Objaverse_XRay}
python -m xray.training.launch evaluate_diffusion.py --exp_diffusion "$name" --data_root "$data" "${@:3}"
