"""Worker processes: results, failures, hangs, crashes, and the end of the parent."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xray.common.errors import InputError, RunError
from xray.common.jobs import Failure, run_jobs
from xray.common.ray_jobs import check_reachable


def work(item):
    """Square a number, or misbehave as the item says."""
    if item == "hang":
        subprocess.run(["sleep", "86399"], check=True)
    if item == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == "leave":
        raise SystemExit(7)
    if item == "unpicklable":
        return lambda: None
    if item == "bad":
        raise InputError("x.obj: bad")
    return item * item


def refuse():
    raise InputError("no such device")


def die():
    raise SystemExit(1)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_item_is_answered_once(workers):
    done = dict(run_jobs(work, list(range(7)), workers))
    assert done == {number: number * number for number in range(7)}


def test_a_bad_item_costs_one_item():
    items = [1, "crash", 2, "hang", 3, "leave", "bad", "unpicklable", 4]
    began = time.monotonic()
    done = dict(run_jobs(work, iter(items), workers=2, timeout_s=1.0))
    assert time.monotonic() - began < 30
    assert [done[item] for item in (1, 2, 3, 4)] == [1, 4, 9, 16]
    assert done["crash"] == Failure("died", "the worker was ended by signal 11")
    assert done["hang"] == Failure("timeout", "took longer than 1 s")
    assert done["leave"] == Failure("died", "the worker left with status 7")
    assert done["bad"] == Failure("error", "x.obj: bad")
    assert done["unpicklable"].kind == "error"
    assert set(done) == set(items)
    end = time.monotonic() + 10  # a process that was killed a moment ago may still be listed
    while _sleepers():
        assert time.monotonic() < end
        time.sleep(0.05)


def _sleepers() -> list[str]:
    """Processes `sleep 86399`; a killed worker's child would have moved to init."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().split(b"\0")[:2]
            except OSError:
                continue
            if line == [b"sleep", b"86399"]:
                found.append(folder.name)
    return found


def test_wrong_numbers_and_failing_starts():
    for values in ({"workers": -1}, {"workers": 1, "timeout_s": 0}, {"workers": 0, "timeout_s": 1}):
        with pytest.raises(InputError):
            list(run_jobs(work, [1], **values))
    with pytest.raises(InputError, match="no such device"):
        list(run_jobs(work, [1], 1, prepare=refuse))
    with pytest.raises(RunError, match="could not start"):
        list(run_jobs(work, [1], 1, prepare=die))


def test_no_items_start_no_workers():
    assert list(run_jobs(work, [], 2)) == []


def test_workers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time, pathlib\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from xray.common.jobs import run_jobs\n"
        "def work(item):\n"
        f"    pathlib.Path({str(tmp_path)!r}, f'{{item}}.pid').write_text(str(os.getpid()))\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    list(run_jobs(work, [1, 2], 2))\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)])
    notes = [tmp_path / "1.pid", tmp_path / "2.pid"]
    _wait_for(lambda: all(note.exists() and note.read_text() for note in notes))
    pids = [int(note.read_text()) for note in notes]
    parent.kill()
    parent.wait()
    _wait_for(lambda: not any(_runs(pid) for pid in pids))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def _wait_for(condition, limit_s: float = 30) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)


def test_an_address_of_a_cluster_where_nothing_listens_is_refused_at_once():
    """Ray waits many minutes for it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_reachable(f"127.0.0.1:{port}")
    with pytest.raises(InputError, match=rf"no cluster at RAY_ADDRESS 127.0.0.1:{port} \(Connection refused\)"):
        check_reachable(f"127.0.0.1:{port}")
    with pytest.raises(InputError, match="99999"):
        check_reachable("127.0.0.1:99999")
    for left_to_ray in ("", "auto", "local", "ray://127.0.0.1:1"):
        check_reachable(left_to_ray)
