"""What visitors may put on the server: pictures alone, so many bytes a visitor, so many in all."""

from __future__ import annotations

import json
import time
from collections import defaultdict, deque
from pathlib import Path

import anyio
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..common.errors import InputError
from ..common.images import check_picture
from .limits import Limits

FORM_BYTES = 65_536
"""Room for what a form sends around a file."""

REST_BYTES, REST_S = 100_000_000, 20.0
"""How much of a refused upload is still read, and for how long. A browser reads an answer only once it has sent all of
its file; where the connection ends before, it tells of a broken connection and not of the reason."""


class BoundedUploads:
    """Refuses uploads beyond the limits, and removes those that are no pictures, before the page hears of them.

    Args:
      folder: that holds uploads and results.
    """

    def __init__(self, app: ASGIApp, folder: Path, limits: Limits) -> None:
        self.app, self.folder, self.limits = app, folder, limits
        self._given: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith("/upload"):
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
        refused = self._refuse(scope, int(length) if length.isdecimal() else None)
        if refused is not None:
            await _drop_body(receive)
            await refused(scope, receive, send)
            return
        answer: list[Message] = []
        whole = False

        async def receive_part() -> Message:
            nonlocal whole
            message = await receive()
            whole = not message.get("more_body", False)
            return message

        async def keep(message: Message) -> None:
            answer.append(message)

        await self.app(scope, receive_part, keep)
        if not whole:  # the page has refused it in the middle
            await _drop_body(receive)
        refused = self._not_pictures(answer)
        if refused is not None:
            await refused(scope, receive, send)
            return
        for message in answer:
            await send(message)

    def _refuse(self, scope: Scope, length: int | None) -> PlainTextResponse | None:
        """By the size that a request announces: what it has to say where it is too much."""
        if length is None:
            return PlainTextResponse("an upload must say how long it is", 411)
        if length > self.limits.upload_mb * 10**6 + FORM_BYTES:
            return PlainTextResponse(f"expected at most {self.limits.upload_mb} MB", 413)
        visitor, now = (scope.get("client") or ("",))[0], time.monotonic()
        given = self._given[visitor]
        while given and given[0][0] < now - 60 * self.limits.keep_minutes:
            given.popleft()
        if sum(size for _, size in given) + length > self.limits.visitor_mb * 10**6:
            words = f"more than {self.limits.visitor_mb} MB in {self.limits.keep_minutes} minutes; come again later"
            return PlainTextResponse(words, 429)
        if folder_bytes(self.folder) + length > self.limits.folder_mb * 10**6:
            return PlainTextResponse("there is no room for more pictures now; come again later", 507)
        given.append((now, length))
        return None

    def _not_pictures(self, answer: list[Message]) -> PlainTextResponse | None:
        """Remove what is no picture; says so where there is such a file."""
        if not answer or answer[0].get("status") != 200:
            return None
        paths = json.loads(b"".join(message.get("body", b"") for message in answer[1:]))
        for path in map(Path, paths):
            try:
                check_picture(path, self.limits.megapixels * 10**6)
            except InputError as error:
                for uploaded in map(Path, paths):
                    uploaded.unlink(missing_ok=True)
                return PlainTextResponse(str(error).replace(str(path), path.name), 415)
        return None


async def _drop_body(receive: Receive) -> None:
    """Read what is left of a request's body, within REST_BYTES and REST_S, and keep nothing of it."""
    left = REST_BYTES
    with anyio.move_on_after(REST_S):
        while left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            if not message.get("more_body", False):  # its end, or the visitor is gone
                return


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; those that go while it is read do not count."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
