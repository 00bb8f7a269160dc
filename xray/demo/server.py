"""Serving the demo's page: from this machine alone, and only what it made or was given."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ..common.errors import InputError
from ..common.files import ROOT
from ..inference.image_to_mesh import ShapeGenerator
from .limits import Limits
from .page import CSS, SCRIPT, build
from .session import DemoJobs
from .uploads import BoundedUploads

EXAMPLES = ROOT / "example" / "pictures"

REMOTE = re.compile(r"/gradio_api/(proxy=|file=[a-z][a-z0-9+.-]+:)", re.IGNORECASE)
"""In paths by which gradio would fetch an address for a visitor; a letter alone before the colon is a drive."""


class NoRemoteFiles:
    """Refuses requests that would have the server fetch something from elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Anywhere in the path: behind a proxy it begins with the root path, once or, by gradio's own redirects, twice.
        if scope["type"] == "http" and REMOTE.search(scope["path"]):
            await PlainTextResponse("only files of this page", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """A folder that is removed with the block, even where a thread that is still at work writes into it meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="xray-demo-")).resolve()
    try:
        yield folder
    finally:
        for _ in range(100):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)


@contextmanager
def serving(
    generator: ShapeGenerator, host: str, port: int, limits: Limits, root_path: str | None = None
) -> Iterator[str]:
    """Serve the page while the block runs; yields its address.

    Uploads and results are in a folder of their own, removed with the block.

    Args:
      port: one that is free, see `free_port`.
      root_path: below which a proxy shows the page, as "/xray"; gradio's GRADIO_ROOT_PATH by default.
    """
    with _scratch_folder() as folder:
        jobs = DemoJobs(generator, folder, limits)
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        page = build(jobs, sorted(EXAMPLES.glob("*.png")))
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            inbrowser=False,
            share=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            enable_monitoring=False,
            max_file_size=f"{limits.upload_mb}mb",
            allowed_paths=[str(EXAMPLES)],
            footer_links=[],
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            css=CSS,
            js=SCRIPT,
            root_path=root_path,
            app_kwargs={"middleware": [Middleware(NoRemoteFiles), Middleware(BoundedUploads, folder, limits)]},
        )
        try:
            yield address
        finally:
            page.close()  # first: who watches keeps a picture's work going
            jobs.close()


def free_port(host: str, port: int) -> int:
    """The port itself, or a free one for 0; asked here because gradio tells of a bad one with a trace.

    Raises:
      InputError: the address cannot be served from.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return probe.getsockname()[1]
    except (OSError, OverflowError) as error:
        raise InputError(f"{host}:{port}: cannot be served from ({error})") from None
