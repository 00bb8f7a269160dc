"""A page on which a picture becomes a mesh: python demo.py, then open the address it prints."""

import sys

from xray.commands.demo import main

if __name__ == "__main__":
    sys.exit(main())
