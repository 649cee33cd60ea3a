"""Processes that end with the command that started them, and their lock."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipelines.local.processes import file_lock, process_group

# Holds a lock and starts a shell that starts a process of its own, as a step does.
PARENT = """
import sys, time
from pathlib import Path
from pipelines.local.processes import file_lock, process_group
with file_lock(Path(sys.argv[1])) as lock:
    with process_group(["/bin/sh", "-c", f"sleep 61.5 & echo $!; exec sleep 61.5"], stop_seconds=5, pass_fds=[lock]) as process:
        print(process.pid, flush=True)
        time.sleep(60)
"""


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_group_ends_with_its_killed_parent_and_frees_the_lock(tmp_path: Path, number: int) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", PARENT, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        started = [int(parent.stdout.readline()) for _ in range(2)]
        with file_lock(path) as lock:
            assert lock is None
        assert not any(map(gone, started))
        parent.send_signal(number)
        parent.wait(timeout=5)
    deadline = time.monotonic() + 3
    while not all(map(gone, started)):
        assert time.monotonic() < deadline, "the group outlives its parent"
        time.sleep(0.02)
    with file_lock(path) as lock:
        assert lock is not None


def test_lock_is_busy_while_a_process_has_its_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with file_lock(path) as lock:
        assert lock is not None
        inherits = subprocess.Popen(["sleep", "60"], pass_fds=[lock])
    with inherits:
        with file_lock(path) as second:
            assert second is None
        inherits.kill()
    with file_lock(path) as third:
        assert third is not None


def test_group_is_stopped_at_the_end_of_the_block() -> None:
    command = ["/bin/sh", "-c", "sleep 62.5 & echo $!; exec sleep 62.5"]
    with process_group(command, stop_seconds=5, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
        assert not gone(grandchild)
    assert process.returncode == -signal.SIGTERM
    deadline = time.monotonic() + 3
    while not gone(grandchild):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_program_that_ignores_sigterm_is_killed() -> None:
    command = ["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]
    with process_group(command, stop_seconds=0.3, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    assert process.returncode == -signal.SIGKILL
