"""Call a module's function in other processes: a call that crashes, hangs or exhausts memory costs its process alone."""

import atexit
import contextlib
import importlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections import deque
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

SECONDS_TO_START = 120.0
SECONDS_TO_END = 2.0
STARTED = "started"
# Each process computes on one core.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class CallError(Exception):
    """A call without an answer. The message says what became of its process."""


def start(module: str, *arguments: object) -> tuple[subprocess.Popen, Connection]:
    """Start a module as a process: no fork, so that it has none of this one's memory, threads and open files.

    Args:
        module: Module to run; its first argument is the file descriptor of its end of the connection.
        arguments: Its further arguments.

    Returns:
        The process, and this end of the connection. It first sends `STARTED`.
    """
    connection, other = Pipe()
    with other:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(other.fileno()), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            pass_fds=[other.fileno()],
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    return process, connection


def limit_this_process(memory_bytes: int) -> None:
    """Limit the memory of a process that was started, and leave its end to the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other process, which then ends this one
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # memory of a crashed process would be on disk


def describe_exit(status: int) -> str:
    """Return what ended a process, from its exit status: `signal SIGKILL` or `exit status 1`."""
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


class Processes:
    """Processes that answer one request at a time with a module's function `answer`. They start when there is work, and stay.

    Any thread may call.
    """

    def __init__(self, module: str, *, count: int, seconds: float, memory_bytes: int):
        """Describe the processes.

        Args:
            module: Module with the function `answer(request)`.
            count: Maximum number of processes; further calls wait for one.
            seconds: Time after which a call is given up.
            memory_bytes: Maximum size of the data of a process.
        """
        self._module, self._seconds, self._memory_bytes = module, seconds, memory_bytes
        self._slots = threading.BoundedSemaphore(count)
        self._idle: deque[_Process] = deque()
        atexit.register(self.close)

    def call(self, request: Any) -> Any:
        """Return the answer to a request; both are pickled.

        Raises:
            CallError: The process died or took too long. The next call gets another one.
            RuntimeError: No process can be started.
        """
        with self._slots:
            process = self._take()
            try:
                answer = process.call(request, self._seconds)
            except BaseException:
                process.stop()
                raise
            self._idle.append(process)
            return answer

    def close(self) -> None:
        """End the processes; the next call starts another one."""
        while self._idle:
            self._idle.pop().stop(SECONDS_TO_END)

    def _take(self) -> "_Process":
        with contextlib.suppress(IndexError):
            while True:
                process = self._idle.pop()
                if process.is_alive:
                    return process
                process.stop()
        return _Process(self._module, self._memory_bytes)


class _Process:
    """A started process."""

    def __init__(self, module: str, memory_bytes: int):
        self._process, self._connection = start(__name__, module, memory_bytes)
        try:
            has_started = self._connection.poll(SECONDS_TO_START) and self._connection.recv() == STARTED
        except (EOFError, OSError):
            has_started = False
        if not has_started:
            self.stop()
            raise RuntimeError(f"a process of {module} ended before it could start")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def call(self, request: Any, seconds: float) -> Any:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # what follows says that it has died
            self._connection.send(request)
        try:
            if not self._connection.poll(seconds):
                raise CallError(f"it took more than {seconds:g} s")
            return self._connection.recv()
        except (EOFError, OSError):
            raise CallError(f"its process ended with {describe_exit(self._process.wait())}") from None

    def stop(self, seconds: float = 0.0) -> None:
        """Let the process end within some seconds, or kill it."""
        self._connection.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _serve(connection: Connection, module: str, memory_bytes: int) -> None:
    """Answer requests until the other process closes the connection."""
    limit_this_process(memory_bytes)
    answer = importlib.import_module(module).answer
    silence = os.open(os.devnull, os.O_WRONLY)  # what a library prints may quote its input
    for descriptor in (1, 2):
        os.dup2(silence, descriptor)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(STARTED)
        while True:
            connection.send(answer(connection.recv()))


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])), sys.argv[2], int(sys.argv[3]))
