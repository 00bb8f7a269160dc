#!/usr/bin/env bash
# The whole chain on the example meshes, on two cores without a GPU, in minutes: pictures and X-Rays of meshes -> scores of
# the model that comes with the repository -> a short training that goes on from it, both stages -> scores again ->
# one picture to a mesh. Run again, every step continues from what exists; `rm -r Output/example` starts over.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

out=Output/example
data=$out/data
shipped=example/pretrained
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
# two commands run side by side most of the time, each on half of the cores
export OMP_NUM_THREADS=$((cores > 3 ? cores / 2 : 1))
export HF_HUB_OFFLINE=1         # everything comes from this folder
export OMP_WAIT_POLICY=PASSIVE  # threads that spin while they wait take the cores of others
SECONDS=0
mkdir -p $out
trap 'set +e; for job in $(jobs -p); do pkill -P "$job"; kill "$job"; done 2>/dev/null' EXIT
step() { printf '\n== %s (%d s so far)\n' "$*" "$SECONDS"; }
# beside LOG COMMAND...: runs it in the background; await LOG waits for it, and shows its words where it failed
beside() { local log=$1; shift; "$@" >"$log" 2>&1 & }
await() { wait $! || { cat "$1" >&2; exit 1; }; }

score_shipped() {
    python evaluate_diffusion.py --exp_diffusion $shipped/diffusion --data_root $data --split all --no_emd --scorers 0 \
        --output $out/shipped
    python evaluate_upsampler.py --exp_diffusion $shipped/diffusion --exp_upsampler $shipped/upsampler --no_emd \
        --scorers 0 --evaluated $out/shipped --output $out/shipped_upsampler --max_samples 2
}
train_upsampler() {
    python train_upsampler.py --config configs/pretrained_upsampler.yaml output_dir=$out/upsampler data.root=$data \
        train.init_from=$shipped/upsampler data.eval_fraction=0 data.flip=0 data.num_workers=0 train.batch_size=1 \
        train.max_steps=8 train.checkpoint_every=8 train.learning_rate=2e-4 train.warmup_steps=2 train.ema_decay=0.8
}
score_upsampler() {
    python evaluate_upsampler.py --exp_diffusion $out/diffusion --exp_upsampler $out/upsampler --no_emd --scorers 0 \
        --max_samples 2
}

step "1/5 pictures, cameras and X-Rays of example/meshes: $data"
python preprocess/make_dataset.py --mesh_root example/meshes --root $data \
    --framing object --num_views 1 --image_size 256 --num_layers 8 --near 0.5 --far 2.8

step "2/5 training the diffusion model on them, from the shipped weights: $out/diffusion"
echo "   beside it, scores of the shipped model, which never saw these objects: $out/shipped.log"
beside $out/shipped.log score_shipped
python train_diffusion.py --config configs/pretrained_diffusion.yaml output_dir=$out/diffusion data.root=$data \
    train.init_from=$shipped/diffusion data.eval_fraction=0 data.flip=0 data.num_workers=0 train.batch_size=2 \
    train.max_steps=60 train.checkpoint_every=30 train.learning_rate=1e-3 train.warmup_steps=4 train.ema_decay=0.85
await $out/shipped.log

step "3/5 scores of the diffusion model after the training; beside it, training of the upsampler: $out/upsampler.log"
beside $out/upsampler.log train_upsampler
python evaluate_diffusion.py --exp_diffusion $out/diffusion --data_root $data --split all --no_emd --scorers 0 \
    --beside $out/shipped/checkpoint-* | tee $out/diffusion.txt
await $out/upsampler.log

step "4/5 one picture to a mesh, by the shipped model; beside it, meshes and scores of both stages: $out/scores.log"
beside $out/scores.log score_upsampler
python infer.py --image example/pictures/mug.png --output $out/pictures
await $out/scores.log

cat <<END

== 5/5 done in $SECONDS s
What the training of the diffusion model changed, on the objects that it was trained on:
$(grep -v '^report\|^every' $out/diffusion.txt)

Everything else is in the reports: $(ls $out/*/evaluate/*/report.html | tr '\n' ' ')
A mesh made of one picture: $out/pictures/mug.glb

What next, with meshes of your own in a folder M:
  source .venv/bin/activate
  python preprocess/make_dataset.py --mesh_root M --root Data/mine --framing object --near 0.5 --far 2.8
  python train_diffusion.py --config configs/pretrained_diffusion.yaml data.root=Data/mine output_dir=Output/mine \\
      train.init_from=example/pretrained/diffusion
  python infer.py --image photo.png --output out
README.md goes on from there.
END
