"""Train the upsampler stage: accelerate launch train_upsampler.py --config configs/upsampler.yaml [key=value ...]."""

import sys

from xray.commands.train import train
from xray.common.cli import entry


@entry
def main() -> None:
    """See the module."""
    train("upsampler")


if __name__ == "__main__":
    sys.exit(main())
