"""Run a service of the project in a process of its own."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).parent.parent.parent


class Service(NamedTuple):
    """A process and the file with its stdout and stderr."""

    process: subprocess.Popen[bytes]
    output: Path


def free_ports(n: int) -> list[int]:
    """Return n free ports of localhost."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(url: str, service: Service, *, seconds: float = 240) -> None:
    """Wait until url returns 200; fail with the process's output if it ends or takes too long."""
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
    state = f"did not return 200 within {seconds:.0f} s" if ended is None else f"ended with status {ended}"
    raise AssertionError(f"{url}: the process {state}. Its output:\n{service.output.read_text()}")


@contextmanager
def running(
    module: str, env: Mapping[str, object], ready_url: str | None = None, *, python: Path | None = None, cwd: Path = ROOT
) -> Iterator[Service]:
    """Run `python -m module` with additional variables, wait for ready_url if given, and end it and its children at the end."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [python or sys.executable, "-m", module],
                cwd=cwd,
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
            children: list[psutil.Process] = []
            with suppress(psutil.NoSuchProcess):
                children = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
