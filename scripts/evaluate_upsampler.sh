#!/usr/bin/env bash
# Evaluates a trained upsampler on what the diffusion model predicted, on every GPU of the machine (or the CPU).
# bash scripts/evaluate_upsampler.sh DIFFUSION UPSAMPLER [flags of evaluate_upsampler.py ...]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

diffusion=${1:-Objaverse_XRay}
upsampler=${2:-Objaverse_XRay_upsampler}
python -m xray.training.launch evaluate_upsampler.py --exp_diffusion "$diffusion" --exp_upsampler "$upsampler" "${@:3}"
