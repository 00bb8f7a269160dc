"""What visitors of the demo may do: limits of uploads and forms, memory and files, and flags that cannot be used."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
from helpers.chromium import PATIENCE_S
from helpers.demo_requests import ask, upload
from PIL import Image

import demo
from xray.common.cli import BAD_INPUT
from xray.common.errors import InputError
from xray.demo import uploads
from xray.demo.limits import Limits
from xray.demo.server import free_port, serving
from xray.demo.session import KEPT, DemoJobs
from xray.demo.uploads import BoundedUploads
from xray.inference.photo import CutOut


@pytest.fixture
def page_server(tmp_path, monkeypatch):
    """The page's real server with small limits below a root path; what would make shapes is left out."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    sample = SimpleNamespace(steps=2, guidance_min=1, guidance_max=1)
    maker = SimpleNamespace(first=SimpleNamespace(training=SimpleNamespace(sample=sample)), cutout=CutOut())
    limits = Limits(upload_mb=1, visitor_mb=2, folder_mb=3)
    with serving(maker, "127.0.0.1", free_port("127.0.0.1", 0), limits, "/xray") as address:
        yield address.split("/xray")[0].rstrip("/")


@pytest.mark.parametrize("prefix", ["", "/xray", "/xray/xray"])
@pytest.mark.parametrize("path", ["/gradio_api/file=http://127.0.0.1:9/a", "/gradio_api/proxy=http://127.0.0.1:9/a"])
def test_a_root_path_does_not_lead_around_the_guard(page_server, prefix, path):
    assert ask(page_server + prefix + path) == (403, "only files of this page")


def test_uploads_are_bounded_in_kind_and_for_a_visitor(page_server):
    noise = np.random.default_rng(0).integers(0, 255, (500, 450, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    good = file.getvalue()
    assert 600_000 < len(good) < 900_000
    answers = [upload(page_server, good, f"{number}.png")[0] for number in range(4)]
    assert answers == [200, 200, 429, 429]
    assert upload(page_server, bytes(1000), "noise.png")[0] == 415
    assert upload(page_server, b"%!PS-Adobe-3.0", "a.eps")[0] == 415
    assert upload(page_server, bytes(1_200_000), "large.png")[0] == 413


def late_upload(address: str, length: int) -> int:
    """Status of an upload whose body comes only when the server has long had the time to answer."""
    place = urlsplit(address)
    head = f"POST /gradio_api/upload HTTP/1.1\r\nhost: {place.netloc}\r\nconnection: close\r\n"
    head += f"content-type: multipart/form-data; boundary=x\r\ncontent-length: {length}\r\n\r\n"
    with socket.create_connection((place.hostname, place.port), PATIENCE_S) as line:
        line.sendall(head.encode())
        time.sleep(0.3)
        for _ in range(length // 10_000):
            line.sendall(bytes(10_000))
        return int(b"".join(iter(lambda: line.recv(65_536), b"")).split()[1])


def test_who_sends_too_much_is_heard_to_the_end_and_then_told(page_server):
    """Not cut off, by which a browser would show a broken connection in place of the reason."""
    assert late_upload(page_server, 5_000_000) == 413
    assert upload(page_server, bytes(1_055_000), "a.png")[0] == 413  # within the room for a form: by the page itself


@pytest.mark.parametrize("endless", ["bytes", "waiting"])
def test_who_sends_without_end_is_not_heard_forever(tmp_path, monkeypatch, endless):
    monkeypatch.setattr(uploads, "REST_BYTES", 10_000)
    monkeypatch.setattr(uploads, "REST_S", 0.05 if endless == "waiting" else 60)
    heard, answers = [], []

    async def receive() -> dict:
        await asyncio.sleep(3600 if endless == "waiting" else 0)
        heard.append(1000)
        return {"type": "http.request", "body": bytes(1000), "more_body": True}

    async def send(message: dict) -> None:
        answers.append(message)

    headers = [(b"content-length", b"9000000")]
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": headers}
    asyncio.run(BoundedUploads(None, tmp_path, Limits(upload_mb=1))(scope, receive, send))
    assert answers[0]["status"] == 413
    assert sum(heard) == (0 if endless == "waiting" else 10_000)


def test_uploads_are_bounded_for_all_together(tmp_path):
    (tmp_path / "old.bin").write_bytes(bytes(900_000))
    bounded = BoundedUploads(None, tmp_path, Limits(folder_mb=1))
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "client": ("a", 1)}
    for length, status in ((b"50000", None), (b"200000", 507), (b"", 411)):
        answer = bounded._refuse(scope, int(length) if length else None)
        assert (answer and answer.status_code) == status


@pytest.fixture
def jobs(tmp_path) -> DemoJobs:
    return DemoJobs(None, tmp_path / "folder", Limits(keep_minutes=1, steps=10))


@pytest.mark.parametrize(
    "values", [(0, 1, 1, 0, "rays"), (11, 1, 1, 0, "rays"), (2, float("nan"), 1, 0, "rays"), (2, 1, 99, 0, "rays"),
               (2, 1, 1, -1, "rays"), (2, 1, 1, None, "rays"), ("2", 1, 1, 0, "rays"), (2, 1, 1, 0, "magic")],
)  # fmt: skip
def test_what_a_form_says_is_checked(jobs, values):
    assert jobs.settings(2, 1, 3.5, 7, "rays").guidance == (1.0, 3.5)
    with pytest.raises(InputError, match="expected"):
        jobs.settings(*values)


def test_old_results_are_removed_and_new_ones_kept(jobs):
    old, new = jobs.results / "old", jobs.results / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "a.npz").touch()
    os.utime(old, (time.time() - 90, time.time() - 90))
    jobs.sweep()
    assert [folder.name for folder in jobs.results.iterdir()] == ["new"]


def test_only_the_last_works_stay_in_memory(jobs):
    for number in range(KEPT + 3):
        jobs._jobs[str(number)] = SimpleNamespace(done=number != 0)
        jobs._forget()
    assert list(jobs._jobs) == ["0", *(str(number) for number in range(3, KEPT + 3))]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--root_path", "xray"], "root path xray"),
        (["--device", "abacus"], "abacus"),
        (["--model", "no/where"], "no/where"),
        (["--upload_mb", "0"], "upload mb 0"),
        (["--port", "70000"], "70000"),
        (["--host", "203.0.113.1"], "203.0.113.1"),
    ],
)
def test_flags_that_cannot_be_used_are_one_line(capsys, flags, said):
    assert demo.main(flags) == BAD_INPUT
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert said in errors[0]
