"""A page on which a picture becomes a mesh: python demo.py, then open the address it prints."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import signal
import sys
import threading
from pathlib import Path

from ..common.cli import entry, loading
from ..common.errors import InputError
from ..demo.limits import Limits
from ..inference.rembg_network import make_cutout


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    limits = Limits()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--model", metavar="NAME", help="first stage, as of infer.py; None: the shipped model")
    add("--upsampler", metavar="NAME", help="second stage; None: the shipped model's, of another model none")
    add("--host", default="127.0.0.1", help="address to serve from; 0.0.0.0 lets other machines in")
    add("--port", type=int, default=7860, help="0 for any free one")
    add("--device", help="cpu, cuda, ...; None: cuda where there is one")
    add("--root_path", metavar="PATH", help="below which a proxy shows the page, as /xray")
    add("--cutout_model", type=Path, metavar="ONNX", help="network for rembg, instead of its own u2net")
    add("--upload_mb", type=int, default=limits.upload_mb, help="largest file of a picture")
    add("--visitor_mb", type=int, default=limits.visitor_mb, help="most that a visitor uploads in keep_minutes")
    add("--folder_mb", type=int, default=limits.folder_mb, help="most that all uploads and results take")
    add("--megapixels", type=int, default=limits.megapixels, help="largest picture")
    add("--max_steps", type=int, default=limits.steps, help="most sampling steps")
    add("--max_samples", type=int, default=limits.samples, help="most shapes of a picture")
    add("--queue", type=int, default=limits.waiting, help="most requests that wait")
    add("--keep_minutes", type=int, default=limits.keep_minutes, help="until results are removed")
    return parser.parse_args(arguments)


@entry
def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted."""
    options = parse(arguments)
    if importlib.util.find_spec("gradio") is None:
        raise InputError("the page needs gradio: pip install -r requirements-demo.txt")
    with loading():  # not before: gradio, which not everybody has, and torch
        from ..demo.server import free_port, serving
        from ..inference.image_to_mesh import ShapeGenerator, choose_stages, default_device

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that visitors' files are removed then too
    logging.getLogger("httpx").setLevel(logging.WARNING)  # gradio's own requests to the page
    limits = Limits(
        options.upload_mb,
        options.visitor_mb,
        options.folder_mb,
        options.megapixels,
        options.max_steps,
        options.max_samples,
        options.queue,
        options.keep_minutes,
    )
    if options.root_path is not None and not options.root_path.startswith("/"):
        raise InputError(f"root path {options.root_path}: expected to begin with /, as /xray")
    port = free_port(options.host, options.port)
    cutout = make_cutout("auto", options.cutout_model)
    generator = ShapeGenerator(
        *choose_stages(options.model, options.upsampler), options.device or default_device(), cutout
    )
    with serving(generator, options.host, port, limits, options.root_path) as address:
        sys.stdout.write(f"open {address} (Ctrl+C ends)\n")
        sys.stdout.flush()
        threading.Event().wait()
