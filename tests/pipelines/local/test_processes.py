"""Processes that end with the command that started them, and their lock."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from components.files import file_lock
from pipelines.local.processes import STOP_SIGNALS, process_group

# Holds a lock and starts a shell that starts a process of its own, as a step does.
PARENT = """
import sys, time
from pathlib import Path
from components.files import file_lock
from pipelines.local.processes import process_group
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


# Is stopped twice, and prints what it has got between.
STOPPED = """
import os, signal, sys, time
from pipelines.local.processes import stop_as_at_ctrl_c
stop_as_at_ctrl_c()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("stopped", flush=True)
    time.sleep(1)
    print("cleaned up", flush=True)
"""


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_signals_after_the_first_do_not_disturb_the_cleaning(number: int) -> None:
    with subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "stopped\n"
        for each in STOP_SIGNALS:
            process.send_signal(each)
        assert process.stdout.read() == "cleaned up\n"
    assert process.returncode == 0


def test_hangup_that_nohup_ignores_does_not_stop_a_command(tmp_path: Path) -> None:
    command = ["nohup", sys.executable, "-c", STOPPED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "stopped\ncleaned up\n"


def test_program_that_ignores_sigterm_is_killed() -> None:
    command = ["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]
    with process_group(command, stop_seconds=0.3, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    assert process.returncode == -signal.SIGKILL
