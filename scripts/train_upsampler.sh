#!/usr/bin/env bash
# Trains the upsampler stage on every GPU of the machine (or on the CPU); run again, it goes on from the latest checkpoint.
# bash scripts/train_upsampler.sh [key=value ...]; CONFIG=FILE takes another configuration, LAUNCH="..." other launch flags.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

gpus=$(python -c 'import torch; print(torch.cuda.device_count())')
if [ "$gpus" -gt 1 ]; then
    launch=(--config_file configs/accelerate/ddp.yaml --num_processes "$gpus")
elif [ "$gpus" = 1 ]; then
    launch=(--num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no)
else
    launch=(--cpu --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no)
fi
# shellcheck disable=SC2206  # LAUNCH is a list of words
[ -z "${LAUNCH:-}" ] || launch=($LAUNCH)
accelerate launch "${launch[@]}" train_upsampler.py --config "${CONFIG:-configs/upsampler.yaml}" "$@"
