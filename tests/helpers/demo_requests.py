"""Requests to the demo's server as its page sends them, without the page."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from helpers.chromium import PATIENCE_S


def status_and_content(request: urllib.request.Request) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def ask(address: str, body: dict | None = None) -> tuple[int, str]:
    """Status and content of an answer; the path is sent as it is."""
    data = None if body is None else json.dumps(body).encode()
    return status_and_content(urllib.request.Request(address, data, {"content-type": "application/json"}))


def upload(address: str, content: bytes, name: str = "a.png") -> tuple[int, str]:
    """Send a file as the page does, without the page."""
    part = b'--x\r\ncontent-disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n--x--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"{address}/gradio_api/upload", part % (name.encode(), content), headers)
    return status_and_content(request)
