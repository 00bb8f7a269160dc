# Sourced by the training scripts: train STAGE [key=value ...] launches train_STAGE.py on every GPU of the machine, or the CPU.
# CONFIG=FILE takes another configuration, LAUNCH="..." other launch flags.
EXTRA=requirements-train.txt
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

train() {
    local stage=$1 config=${CONFIG:-configs/$1.yaml} gpus=0 launch
    # A mistake in the configuration is one line here, and status 2, before anything is launched.
    python "train_$stage.py" --config "$config" --dry_run "${@:2}" >/dev/null
    # Without the driver of a GPU torch need not be asked, which takes seconds.
    if [ -e /dev/nvidiactl ] || [ -e /dev/dxg ] || [ -e /dev/kfd ]; then
        gpus=$(python -c 'import torch; print(torch.cuda.device_count())')
    fi
    if [ "$gpus" -gt 1 ]; then
        launch=(--config_file configs/accelerate/ddp.yaml --num_processes "$gpus")
    elif [ "$gpus" = 1 ]; then
        launch=(--num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no)
    else
        launch=(--cpu --num_processes 1 --num_machines 1 --num_cpu_threads_per_process "$(nproc)" --mixed_precision no
            --dynamo_backend no)
    fi
    # shellcheck disable=SC2206  # LAUNCH is a list of words
    [ -z "${LAUNCH:-}" ] || launch=($LAUNCH)
    python -m xray.training.launch "${launch[@]}" "train_$stage.py" --config "$config" "${@:2}"
}
