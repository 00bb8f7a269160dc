"""train_diffusion.py as one of several processes that share a card: joined by gloo, since NCCL refuses that.

torchrun --standalone --nproc_per_node=2 -m gpu_steps.on_one_card --config FILE [key=value ...]
"""

from __future__ import annotations

import os
import sys

import torch

from xray.commands.train import train
from xray.common.cli import entry

if __name__ == "__main__":
    if torch.cuda.device_count() == 1:
        torch.distributed.init_process_group("gloo")  # Accelerate takes a group that is there
        os.environ["LOCAL_RANK"] = "0"  # the number of the card that Accelerate gives the network to
    sys.exit(entry(train)("diffusion"))
