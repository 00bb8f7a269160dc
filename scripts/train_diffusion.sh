#!/usr/bin/env bash
# Trains the diffusion stage on every GPU of the machine (or on the CPU); run again, it goes on from the latest checkpoint.
# bash scripts/train_diffusion.sh [key=value ...]; CONFIG=FILE takes another configuration, LAUNCH="..." other launch flags.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

train diffusion "$@"
