#!/usr/bin/env bash
# The whole chain on the example meshes, on two cores without a GPU:
# pictures and cameras -> X-Rays and manifest -> both trainings -> both evaluations -> points, meshes, a report.
# Run again, every step goes on from what is there; `rm -r Output/example` begins anew.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

out=Output/example
data=$out/data
diffusion=$out/diffusion
upsampler=$out/upsampler
export HF_HUB_OFFLINE=1         # everything comes from this folder
export OMP_WAIT_POLICY=PASSIVE  # threads that spin while they wait take the cores of others
step() { printf '\n== %s\n' "$*"; }

step "1/6 pictures and cameras: $data/images"
python preprocess/get_image/render.py --mesh_root example/meshes --image_root $data/images \
    --num_views 3 --image_size 256 --workers "$(nproc)"

step "2/6 X-Rays and manifest: $data/xrays, $data/manifest.csv"
python preprocess/get_xray/get_xray.py --mesh_root example/meshes --image_root $data/images \
    --xray_root $data/xrays --workers "$(nproc)"

step "3/6 training the diffusion model: $diffusion"
accelerate launch --cpu --num_processes 1 --num_machines 1 --num_cpu_threads_per_process "$(nproc)" --mixed_precision no --dynamo_backend no \
    train_diffusion.py --config configs/example_diffusion.yaml output_dir=$diffusion data.root=$data

step "4/6 training the upsampler: $upsampler"
accelerate launch --cpu --num_processes 1 --num_machines 1 --num_cpu_threads_per_process "$(nproc)" --mixed_precision no --dynamo_backend no \
    train_upsampler.py --config configs/example_upsampler.yaml output_dir=$upsampler data.root=$data

step "5/6 evaluating the diffusion model, before and after training"
python evaluate_diffusion.py --exp_diffusion $diffusion --data_root $data --split train --untrained
python evaluate_diffusion.py --exp_diffusion $diffusion --data_root $data --split train

step "6/6 evaluating the upsampler: points, meshes, report"
python evaluate_upsampler.py --exp_diffusion $diffusion --exp_upsampler $upsampler
