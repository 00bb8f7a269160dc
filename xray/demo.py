"""Serving the demo's page: from this machine alone, and only what it made or was given."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .demo_page import CSS, build
from .demo_work import Limits, Workshop
from .errors import InputError
from .inference import Imaginer
from .models.conditioner import ROOT

log = logging.getLogger(__name__)

EXAMPLES = ROOT / "example" / "pictures"

REMOTE = ("/gradio_api/file=http:", "/gradio_api/file=https:", "/gradio_api/proxy=")
"""Beginnings of paths by which gradio would fetch an address for a visitor."""


class NoRemoteFiles:
    """Refuses requests that would have the server fetch something from elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].lower().startswith(REMOTE):
            await PlainTextResponse("only files of this page", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@contextmanager
def serving(imaginer: Imaginer, host: str, port: int, limits: Limits) -> Iterator[str]:
    """Serve the page while the block runs; yields its address.

    Uploads and results are in a folder of their own, removed with the block.

    Args:
      port: one that is free, see `free_port`.
    """
    with tempfile.TemporaryDirectory(prefix="xray-demo-") as name:
        folder = Path(name).resolve()
        workshop = Workshop(imaginer, folder, limits)
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        page = build(workshop, sorted(EXAMPLES.glob("*.png")))
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
            app_kwargs={"middleware": [Middleware(NoRemoteFiles)]},
        )
        try:
            yield address
        finally:
            page.close()


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
