#!/usr/bin/env bash
# Makes the model that comes with the repository from nothing: objects, data, both trainings, scores, pipelines.
# bash scripts/train_pretrained.sh [--hours H] [--device cpu|cuda] [--output DIR] [--ship DIR]; run again, it goes on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

python -m xray.recipes.pretrained "$@"
