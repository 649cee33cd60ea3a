"""Call functions in processes, in the order of the items; a call that kills its process costs its item alone.

Not concurrent.futures: there the first process that dies breaks the pool, and every item in it is lost.
"""

import contextlib
import pickle
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self, TypeVar

from brain_tumor.container import usable_cores
from brain_tumor.processes import STARTED, describe_exit, limit_this_process, start

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK_ITEMS = 16
CHUNKS_PER_PROCESS = 4
SECONDS_PER_CHUNK = 60.0
SECONDS_TO_START = 300.0
MAX_PROCESS_BYTES = 3 * 2**30


@dataclass(frozen=True)
class Failure:
    """Why an item has no result.

    Attributes:
        code: `killed` or `too_slow`.
        reason: The same in a sentence.
    """

    code: str
    reason: str


@dataclass(frozen=True)
class _Chunk:
    """Consecutive items, and the position of the first."""

    start: int
    items: list[Any]


class _Worker:
    """A process that answers one chunk at a time."""

    def __init__(self) -> None:
        self._process, self.connection = start(__name__)
        self.chunk: _Chunk | None = None
        self.deadline = self._seconds = 0.0
        self._has_started = False

    def send(self, function: Callable, chunk: _Chunk, seconds: float) -> None:
        self.chunk, self._seconds = chunk, seconds
        self.deadline = time.monotonic() + (seconds if self._has_started else SECONDS_TO_START)
        with contextlib.suppress(OSError):  # it has died, which `is_ready` tells
            self.connection.send((function, chunk.items))

    @property
    def is_ready(self) -> bool:
        """Whether it has answered or died.

        Raises:
            RuntimeError: It died before it could start, which no item is to blame for.
        """
        if not self._has_started and self.connection.poll():
            try:
                self._has_started = self.connection.recv() == STARTED
            except (EOFError, OSError):
                raise RuntimeError(f"a process of {__name__} ended before it could start") from None
            self.deadline = time.monotonic() + self._seconds
        return self.connection.poll()

    def stop(self) -> int:
        """Kill the process if it lives; return its exit status."""
        self.connection.close()
        self._process.kill()
        return self._process.wait()


class Workers:
    """Processes that call functions; a context manager. They start when there is work, and stay for the next call.

    Attributes:
        processes: Maximum number of processes.
    """

    def __init__(self, processes: int = 0):
        """Set the number of processes; 0 is that of the cores that this process may use."""
        self.processes = processes or usable_cores()
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop(self._workers)

    def map(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        chunk_items: int = CHUNK_ITEMS,
        seconds_per_chunk: float = SECONDS_PER_CHUNK,
    ) -> Iterator[Result | Failure]:
        """Yield the function's result for each item, in the order of the items; a few chunks for each process are in memory.

        If the process of a chunk dies or takes too long, it is replaced, and the items are repeated in chunks of one.

        Args:
            function: Function at the top level of a module, or a `functools.partial` of one.
            items: The items; they and the results are pickled.
            chunk_items: Number of items to send at a time.
            seconds_per_chunk: Time after which a chunk, or an item alone, is given up.

        Yields:
            The result, or a `Failure` for an item that, alone, ended its process or took too long.

        Raises:
            Exception: What the function raised.
        """
        chunks, repeated = _chunks(items, chunk_items), deque[_Chunk]()
        done: dict[int, Result | Failure] = {}
        position, sent = 0, 0
        try:
            while True:
                while repeated or sent - position < self.processes * CHUNKS_PER_PROCESS * chunk_items:
                    if (worker := self._idle_worker()) is None:
                        break
                    chunk = repeated.popleft() if repeated else next(chunks, None)
                    if chunk is None:
                        break
                    sent = max(sent, chunk.start + len(chunk.items))
                    worker.send(function, chunk, seconds_per_chunk)
                if not self._busy():
                    return
                for worker, chunk in self._wait():
                    self._collect(worker, chunk, done, repeated)
                while position in done:
                    yield done.pop(position)
                    position += 1
        finally:
            self._stop(self._busy())

    def _idle_worker(self) -> _Worker | None:
        worker = next((worker for worker in self._workers if worker.chunk is None), None)
        if worker is None and len(self._workers) < self.processes:
            worker = _Worker()
            self._workers.append(worker)
        return worker

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.chunk]

    def _wait(self) -> Iterator[tuple[_Worker, _Chunk]]:
        """Wait until a worker has answered, has died or is late; yield all of these with their chunks, which they lose."""
        nearest = min(worker.deadline for worker in self._busy())
        wait([worker.connection for worker in self._busy()], timeout=max(0.0, nearest - time.monotonic()))
        for worker in self._busy():
            if worker.chunk and (worker.is_ready or time.monotonic() >= worker.deadline):
                chunk, worker.chunk = worker.chunk, None
                yield worker, chunk

    def _collect(self, worker: _Worker, chunk: _Chunk, done: dict[int, Any], repeated: deque[_Chunk]) -> None:
        """Put the results of a chunk into `done`; if there are none, replace the worker and repeat the items one by one."""
        is_late = not worker.is_ready
        try:
            error, results = (None, None) if is_late else worker.connection.recv()
        except (EOFError, OSError):
            error, results = None, None
        if error is not None:
            raise error
        if results is not None:
            done.update(enumerate(results, start=chunk.start))
            return
        self._workers.remove(worker)
        failure = _failure(worker.stop(), is_late=is_late)
        if len(chunk.items) == 1:
            done[chunk.start] = failure
        else:
            repeated.extend(_Chunk(chunk.start + offset, [item]) for offset, item in enumerate(chunk.items))

    def _stop(self, workers: list[_Worker]) -> None:
        for worker in workers:
            worker.stop()
        self._workers = [worker for worker in self._workers if worker not in workers]


def _chunks(items: Iterable[Any], size: int) -> Iterator[_Chunk]:
    iterator, start = iter(items), 0
    while chunk := list(islice(iterator, size)):
        yield _Chunk(start, chunk)
        start += len(chunk)


def _failure(status: int, *, is_late: bool) -> Failure:
    if is_late:
        return Failure("too_slow", "it took too long to read and was given up")
    memory = ", as when memory runs out" if status == -signal.SIGKILL else ""
    return Failure("killed", f"reading it ended the process, with {describe_exit(status)}{memory}")


def _serve(connection: Connection) -> None:
    """Answer chunks until the other process closes the connection."""
    limit_this_process(MAX_PROCESS_BYTES)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(STARTED)
        while True:
            request = connection.recv_bytes()
            try:
                function, items = pickle.loads(request)
                answer: tuple[Exception | None, list | None] = None, [function(item) for item in items]
            except Exception as error:
                answer = error, None
            connection.send(answer)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
