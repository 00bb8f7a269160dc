"""Train the diffusion stage: accelerate launch train_diffusion.py --config configs/diffusion.yaml [key=value ...]."""

import sys

from xray.common.cli import entry
from xray.training.cli import train


@entry
def main() -> None:
    """See the module."""
    train("diffusion")


if __name__ == "__main__":
    sys.exit(main())
