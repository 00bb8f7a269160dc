#!/usr/bin/env bash
# The whole chain on the example meshes, on two cores without a GPU, in minutes: pictures and X-Rays of meshes -> scores of
# the model that comes with the repository -> a short training that goes on from it, both stages -> scores again ->
# one picture to a mesh. Run again, every step continues from what exists; `rm -r Output/example` starts over.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

out=Output/example
data=$out/data
shipped=example/pretrained
export HF_HUB_OFFLINE=1         # everything comes from this folder
export OMP_WAIT_POLICY=PASSIVE  # threads that spin while they wait take the cores of others
SECONDS=0
step() { printf '\n== %s (%d s so far)\n' "$*" "$SECONDS"; }

step "1/6 pictures, cameras and X-Rays of example/meshes: $data"
python preprocess/make_dataset.py --mesh_root example/meshes --root $data \
    --framing object --num_views 1 --image_size 256 --num_layers 8 --near 0.5 --far 2.8

step "2/6 scores of the shipped model, which never saw these objects"
python evaluate_diffusion.py --exp_diffusion $shipped/diffusion --data_root $data --split all --no_emd \
    --output $out/shipped
python evaluate_upsampler.py --exp_diffusion $shipped/diffusion --exp_upsampler $shipped/upsampler --no_emd \
    --evaluated $out/shipped --output $out/shipped_upsampler --max_samples 3

step "3/6 training the diffusion model on them, from the shipped weights: $out/diffusion"
python train_diffusion.py --config configs/pretrained_diffusion.yaml output_dir=$out/diffusion data.root=$data \
    train.init_from=$shipped/diffusion data.eval_fraction=0 data.flip=0 data.num_workers=0 train.batch_size=3 \
    train.max_steps=40 train.checkpoint_every=20 train.learning_rate=1e-3 train.warmup_steps=3 train.ema_decay=0.8

step "4/6 training the upsampler in the same way: $out/upsampler"
python train_upsampler.py --config configs/pretrained_upsampler.yaml output_dir=$out/upsampler data.root=$data \
    train.init_from=$shipped/upsampler data.eval_fraction=0 data.flip=0 data.num_workers=0 train.batch_size=1 \
    train.max_steps=8 train.checkpoint_every=8 train.learning_rate=2e-4 train.warmup_steps=2 train.ema_decay=0.8

step "5/6 scores after the training, points, meshes, reports"
python evaluate_diffusion.py --exp_diffusion $out/diffusion --data_root $data --split all --no_emd \
    --beside $out/shipped/checkpoint-* | tee $out/diffusion.txt
python evaluate_upsampler.py --exp_diffusion $out/diffusion --exp_upsampler $out/upsampler --no_emd --max_samples 3

step "6/6 one picture to a mesh, by the shipped model: $out/pictures"
python infer.py --image example/pictures/mug.png --output $out/pictures

cat <<END

== done in $SECONDS s
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
