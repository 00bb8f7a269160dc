"""A page on which a picture becomes a mesh: python demo.py, then open the address it prints."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading

import torch

from xray.cli import entry
from xray.demo import free_port, serving
from xray.demo_work import Limits
from xray.inference import Imaginer, choose_stages


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    limits = Limits()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--model", metavar="NAME", help="first stage, as of infer.py; None: the shipped model")
    add("--upsampler", metavar="NAME", help="second stage; None: the shipped model's, of another model none")
    add("--host", default="127.0.0.1", help="address to serve from; 0.0.0.0 lets other machines in")
    add("--port", type=int, default=7860, help="0 for any free one")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, ...")
    add("--upload_mb", type=int, default=limits.upload_mb, help="largest file of a picture")
    add("--megapixels", type=int, default=limits.megapixels, help="largest picture")
    add("--max_steps", type=int, default=limits.steps, help="most sampling steps")
    add("--queue", type=int, default=limits.waiting, help="most requests that wait")
    add("--keep_minutes", type=int, default=limits.keep_minutes, help="until results are removed")
    return parser.parse_args(arguments)


@entry
def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that visitors' files are removed then too
    logging.getLogger("httpx").setLevel(logging.WARNING)  # gradio's own requests to the page
    options = parse(arguments)
    limits = Limits(
        options.upload_mb,
        options.megapixels,
        steps=options.max_steps,
        waiting=options.queue,
        keep_minutes=options.keep_minutes,
    )
    port = free_port(options.host, options.port)
    imaginer = Imaginer(*choose_stages(options.model, options.upsampler), options.device)
    with serving(imaginer, options.host, port, limits) as address:
        sys.stdout.write(f"open {address} (Ctrl+C ends)\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
