"""Processes that end with the command that started them, however it ends, and the lock that they share with it."""

import contextlib
import fcntl
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# In the group of the command waits a shell whose standard input is a pipe from the process that started it. The pipe closes when
# that process ends, even if it is killed; then the shell kills the group.
IN_GROUP = ("/bin/sh", "-c", 'exec 3<&0; { read _ <&3; kill -KILL 0; } >/dev/null 2>&1 & exec "$@" </dev/null 3<&-', "sh")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[int | None]:
    """Lock a file until the block ends and no process has the file descriptor any more.

    Yields:
        The file descriptor, for `pass_fds` of `process_group`; None if the file is locked already.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


def stop_as_at_ctrl_c() -> None:
    """Raise KeyboardInterrupt at SIGTERM and SIGHUP as at SIGINT, which a background job of a script inherits as ignored."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)
