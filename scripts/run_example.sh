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
# beside LOG COMMAND...: runs it in the background, as process $!
beside() { local log=$1; shift; "$@" >"$log" 2>&1 & }
# await PROCESS LOG...: waits for it, and shows its words where it failed
await() { local process=$1; shift; wait "$process" || { cat "$@" >&2 2>/dev/null; exit 1; }; }

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
# what needs nothing of the diffusion model's training, when the scores that its own are shown beside are there
rest_beside() {
    while kill -0 "$1"; do sleep 0.2; done 2>/dev/null
    train_upsampler >$out/upsampler.log 2>&1
    python infer.py --image example/pictures/mug.png --output $out/pictures >$out/picture.log 2>&1
}
score_upsampler() {
    python evaluate_upsampler.py --exp_diffusion $out/diffusion --exp_upsampler $out/upsampler --no_emd --scorers 0 \
        --max_samples 2
}

step "1/5 pictures, cameras and X-Rays of example/meshes: $data"
python preprocess/make_dataset.py --mesh_root example/meshes --root $data \
    --framing object --num_views 1 --image_size 256 --num_layers 8 --near 0.5 --far 2.8

step "2/5 training the diffusion model on them, from the shipped weights: $out/diffusion"
echo "   beside it: scores of the shipped model, which never saw these objects ($out/shipped.log), training of the"
echo "   upsampler ($out/upsampler.log), and one picture to a mesh by the shipped model ($out/picture.log)"
beside $out/shipped.log score_shipped
shipped_scores=$!
beside $out/rest.log rest_beside $shipped_scores
rest=$!
python train_diffusion.py --config configs/pretrained_diffusion.yaml output_dir=$out/diffusion data.root=$data \
    train.init_from=$shipped/diffusion data.eval_fraction=0 data.flip=0 data.num_workers=0 train.batch_size=2 \
    train.max_steps=60 train.checkpoint_every=30 train.learning_rate=1e-3 train.warmup_steps=4 train.ema_decay=0.85
await $shipped_scores $out/shipped.log

step "3/5 scores of the diffusion model after the training"
python evaluate_diffusion.py --exp_diffusion $out/diffusion --data_root $data --split all --no_emd --scorers 0 \
    --beside $out/shipped/checkpoint-* | tee $out/diffusion.txt

step "4/5 meshes and scores of both stages: $out/scores.log"
await $rest $out/upsampler.log $out/picture.log
score_upsampler >$out/scores.log 2>&1 || { cat $out/scores.log >&2; exit 1; }

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
