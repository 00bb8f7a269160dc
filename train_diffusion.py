"""Train the diffusion stage: accelerate launch train_diffusion.py --config configs/diffusion.yaml [key=value ...]."""

import sys

from xray.cli import entry
from xray.launch import train


@entry
def main() -> None:
    """See the module."""
    train("diffusion")


if __name__ == "__main__":
    sys.exit(main())
