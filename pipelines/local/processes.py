"""Processes that end with the command that started them, however it ends, and the wait until they are ready."""

import contextlib
import math
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

# In the group of the command waits a shell whose standard input is a pipe from the process that started it. The pipe closes when
# that process ends, even if it is killed; then the shell kills the group.
IN_GROUP = ("/bin/sh", "-c", 'exec 3<&0; { read _ <&3; kill -KILL 0; } >/dev/null 2>&1 & exec "$@" </dev/null 3<&-', "sh")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READY_TIMEOUT_SECONDS = 120
CLEAN_UP_SECONDS = 60  # if it takes longer, or Python has lost the exception in a destructor, the next signal counts
Processes = Mapping[str, subprocess.Popen]
# HTTP to this machine, past the proxy that the environment may name.
open_local = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


@contextlib.contextmanager
def process_group(command: Sequence[str], *, stop_seconds: float, **options: Any) -> Iterator[subprocess.Popen]:
    """Start a command in a process group of its own; at the end send SIGTERM to it, and SIGKILL to what is left of its group.

    Args:
        command: Program and arguments.
        stop_seconds: Time between the two signals.
        options: Options of `subprocess.Popen`.
    """
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb"), subprocess.Popen([*IN_GROUP, *command], stdin=reader, process_group=0, **options) as process:
        os.close(reader)
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(stop_seconds)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_until_ready(url: str, processes: Processes) -> None:
    """Wait until a URL of this machine returns 200.

    Raises:
        RuntimeError: One of the processes ended, or it takes too long.
    """
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        check_running(processes)
        try:
            with open_local(url, timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"{url} did not return 200 within {READY_TIMEOUT_SECONDS} s")


def check_running(processes: Processes) -> None:
    """Raise RuntimeError if one of the processes has ended."""
    for name, process in processes.items():
        if process.poll() is not None:
            how = f"signal {-process.returncode}" if process.returncode < 0 else f"status {process.returncode}"
            raise RuntimeError(f"{name} ended with {how}")


def stop_as_at_ctrl_c() -> None:
    """Raise KeyboardInterrupt at SIGINT, which a background job of a script inherits as ignored, at SIGTERM and at SIGHUP.

    The signals that follow are ignored while the command cleans up. A SIGHUP that `nohup` ignores stays ignored.
    """
    stopped_at = -math.inf

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped_at
        if time.monotonic() > stopped_at + CLEAN_UP_SECONDS:
            stopped_at = time.monotonic()
            raise KeyboardInterrupt

    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
