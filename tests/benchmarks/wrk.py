"""Load an HTTP server in a closed loop with wrk: each client sends its next request after the response.

wrk takes 1 % of the time that a client in Python takes, which would share the cores with the server and so flatter a slow one.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import psutil

from tests.tools import find

SCRIPT = Path(__file__).with_name("wrk.lua")
TIMEOUT_SECONDS = 60
SETTLE_SECONDS = 0.3  # for the requests that the last clients left behind: with new ones they may be more than a server admits


class Measurement(NamedTuple):
    """One round.

    Attributes:
        rate: Responses a second.
        median_ms: Median of the duration of a request.
        p95_ms: 95th percentile of it.
        p99_ms: 99th percentile of it.
        load_cores: Processor time that the load generator took, in cores.
        cpu_ms: Processor time of each process of the server for a request.
    """

    rate: float
    median_ms: float
    p95_ms: float
    p99_ms: float
    load_cores: float = 0.0
    cpu_ms: dict[str, float] = {}  # noqa: RUF012 - of a NamedTuple, never changed

    @classmethod
    def of(cls, durations: list[float], seconds: float, load_cores: float = 0.0) -> Self:
        """Measure requests by their durations in seconds, which arrived within a number of seconds."""
        median, p95, p99 = np.percentile(durations, (50, 95, 99)) * 1e3
        return cls(len(durations) / seconds, median, p95, p99, load_cores)


class Wrk:
    """Sends a list of requests, in turn, to one server.

    Args:
        port: Port of the server on this machine.
        requests: Complete HTTP requests.
        processes: The processes of the server by name; their children count as part of them.
    """

    def __init__(self, port: int, requests: list[bytes], processes: dict[str, int] | None = None):
        self._program = find("wrk") or sys.exit("needs the program wrk: install it with `make tools`")
        self._port, self._requests, self._processes = port, requests, processes or {}

    def run(self, *, clients: int, seconds: int) -> Measurement:
        """Let each client send one request after another for a number of seconds.

        A server that answers none in this time has the rate 0 and infinite durations.

        Raises:
            SystemExit: A request failed or had another status than 200.
        """
        with tempfile.TemporaryDirectory() as folder:
            for number, request in enumerate(self._requests, start=1):
                (Path(folder) / str(number)).write_bytes(request)
            options = ["-t1", f"-c{clients}", f"-d{seconds}s", f"--timeout={TIMEOUT_SECONDS}s", "-s", str(SCRIPT)]
            url = f"http://127.0.0.1:{self._port}"
            command = [self._program, *options, url, "--", folder, str(len(self._requests))]
            time.sleep(SETTLE_SECONDS)
            used = cpu_time_of(self._processes)
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                output = process.stdout.read()
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            cpu = used()
        return _measurement(output, cpu, usage.ru_utime + usage.ru_stime)


def cpu_time_of(processes: dict[str, int]) -> Callable[[], dict[str, float]]:
    """Start to measure processor time, and return a function that returns the seconds since then, by process."""

    def seconds() -> dict[str, float]:
        return {name: _tree_seconds(psutil.Process(pid)) for name, pid in processes.items()}

    before = seconds()
    return lambda: {name: after - before[name] for name, after in seconds().items()}


def _tree_seconds(parent: psutil.Process) -> float:
    times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def _measurement(output: str, cpu: dict[str, float], load_cpu: float) -> Measurement:
    try:
        result = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        raise SystemExit(f"wrk: expected a line of JSON at the end, got:\n{output}") from None
    if result["not_200"] or result["failed"]:
        raise SystemExit(f"wrk: expected only responses of status 200, got {result}")
    seconds, count = result["microseconds"] / 1e6, result["requests"]
    if count == 0:
        return Measurement(0.0, math.inf, math.inf, math.inf, load_cpu / seconds, dict.fromkeys(cpu, math.inf))
    median, p95, p99 = (result[name] / 1e3 for name in ("p50", "p95", "p99"))
    per_request = {name: used * 1e3 / count for name, used in cpu.items()}
    return Measurement(count / seconds, median, p95, p99, load_cpu / seconds, per_request)
