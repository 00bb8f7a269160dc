# Sourced by the training scripts: train STAGE [key=value ...] launches train_STAGE.py on every GPU of the machine, or the CPU.
# CONFIG=FILE takes another configuration, LAUNCH="..." other launch flags.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

train() {
    local stage=$1 gpus launch
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
    accelerate launch "${launch[@]}" "train_$stage.py" --config "${CONFIG:-configs/$stage.yaml}" "${@:2}"
}
