"""Start a real service of the project as a process of its own, and end it."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent


class Service(NamedTuple):
    """A process and the file that holds what it wrote to stdout and stderr."""

    process: subprocess.Popen[bytes]
    output: Path


def free_ports(n: int) -> list[int]:
    """Return n ports of localhost on which nothing listens."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(url: str, service: Service, *, seconds: float = 60) -> None:
    """Wait until url answers 200; fail with what the process wrote where it ends or takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and service.process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=seconds):
                return
        except (urllib.error.URLError, ConnectionError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            time.sleep(0.05)
    ended = service.process.poll()
    state = f"did not answer 200 within {seconds:.0f} s" if ended is None else f"ended with status {ended}"
    raise AssertionError(f"{url}: the process {state}. It wrote:\n{service.output.read_text()}")


@contextmanager
def running(module: str, env: Mapping[str, object], ready_url: str | None = None) -> Iterator[Service]:
    """Run `python -m module` with env added to this process's own, wait for ready_url if one is given, and end it at last."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env={**os.environ, **{name: str(value) for name, value in env.items()}},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        service = Service(process, output)
        try:
            if ready_url:
                wait_for(ready_url, service)
            yield service
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
