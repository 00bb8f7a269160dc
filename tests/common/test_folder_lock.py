"""A folder belongs to one run: real processes that hold, die, share, and are refused."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from xray.common.errors import InputError
from xray.common.folder_lock import LOCK, folder_lock

HOLD = """
import sys, time
from xray.common.folder_lock import folder_lock
with folder_lock(sys.argv[1], "a training", *sys.argv[2:]):
    if {fork}:
        import os
        if os.fork() == 0:  # as a loader's worker, which outlives its parent a while
            time.sleep(60)
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder, *part: str, fork: bool = False) -> subprocess.Popen:
    command = [sys.executable, "-c", HOLD.format(fork=fork), str(folder), *part]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def refuse(folder, reason: str, *part: str) -> None:
    with pytest.raises(InputError, match=reason), folder_lock(folder, "another run", *part):
        pass


def test_the_second_run_is_told_who_the_first_is(tmp_path):
    first = holder(tmp_path / "new" / "folder")
    try:
        with pytest.raises(InputError) as refused, folder_lock(tmp_path / "new" / "folder", "a training"):
            pass
    finally:
        end(first)
    message = str(refused.value)
    for word in (str(tmp_path), "a training", str(first.pid), socket.gethostname(), time.strftime("%F")):
        assert word in message
    assert "\n" not in message


def test_a_killed_run_leaves_the_folder_free_at_once(tmp_path):
    first = holder(tmp_path, fork=True)
    os.kill(first.pid, signal.SIGKILL)  # its child lives on
    first.wait()
    with folder_lock(tmp_path, "a training"):
        assert (tmp_path / LOCK).is_file()
    assert not list(tmp_path.iterdir())
    os.killpg(first.pid, signal.SIGKILL)
    first.stdout.close()


def test_parts_of_one_run_work_side_by_side(tmp_path):
    first = holder(tmp_path, "0-of-2")
    try:
        with folder_lock(tmp_path, "a part", "1-of-2"):
            pass
        refuse(tmp_path, str(first.pid), "0-of-2")
        refuse(tmp_path, str(first.pid))
    finally:
        end(first)
    with folder_lock(tmp_path, "a whole run"):
        refuse(tmp_path, "a whole run", "1-of-2")
    with folder_lock(tmp_path, "a part", "0-of-2"):
        pass
    assert not list(tmp_path.iterdir())


def test_parts_of_another_number_are_kept_out_while_they_work(tmp_path):
    first = holder(tmp_path, "0-of-4")
    try:
        refuse(tmp_path, f"{first.pid}.*its parts are 0-of-4, not 1-of-3", "1-of-3")
        with folder_lock(tmp_path, "a part", "1-of-4"):
            refuse(tmp_path, "0-of-4|1-of-4", "2-of-14")
    finally:
        end(first)
    assert (tmp_path / f"{LOCK}-0-of-4").is_file()  # of a run that was killed: nobody's
    with folder_lock(tmp_path, "a part", "1-of-3"):
        pass


def test_one_process_does_not_get_it_twice(tmp_path):
    with folder_lock(tmp_path, "a training"):
        refuse(tmp_path, "a training")
        command = [sys.executable, "-c", HOLD.format(fork=False), str(tmp_path)]
        refused = subprocess.run(command, capture_output=True, text=True)
        assert "InputError" in refused.stderr  # the refusal within did not end the lock
        assert str(os.getpid()) in refused.stderr


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nothing"):
        with pytest.raises(InputError, match=str(folder)), folder_lock(folder, "a training"):
            pass
