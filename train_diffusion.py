"""Train the diffusion stage: accelerate launch train_diffusion.py --config configs/diffusion.yaml [key=value ...]."""

import sys

from xray.commands.train import train
from xray.common.cli import entry


@entry
def main() -> None:
    """See the module."""
    train("diffusion")


if __name__ == "__main__":
    sys.exit(main())
