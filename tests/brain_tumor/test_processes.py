"""Calls in other processes: what a crash, a hang and exhausted memory cost."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from brain_tumor.processes import CallError, Processes

MEMORY_BYTES = 256 * 2**20


@pytest.fixture
def processes() -> Iterator[Processes]:
    pool = Processes("tests.brain_tumor.faults", count=2, seconds=2, memory_bytes=MEMORY_BYTES)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("fault", "message"),
    [("abort", "ended with signal SIGABRT"), ("exit", "ended with exit status 3"), ("hang", "took more than 2 s")],
)
def test_call_that_ends_its_process_costs_itself_alone(fault: str, message: str, processes: Processes) -> None:
    first = processes.call("pid")
    assert processes.call("pid") == first != os.getpid()
    with pytest.raises(CallError, match=message):
        processes.call(fault)
    assert not psutil.pid_exists(first)
    assert processes.call("pid") != first


def test_memory_of_a_process_is_limited(processes: Processes) -> None:
    assert processes.call(MEMORY_BYTES // 4) == MEMORY_BYTES // 4
    assert processes.call(2 * MEMORY_BYTES) == "MemoryError"


def test_process_that_died_while_idle_is_replaced(processes: Processes) -> None:
    os.kill(processes.call("pid"), signal.SIGKILL)
    time.sleep(0.2)
    assert processes.call("pid")


def test_threads_share_the_processes(processes: Processes) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(processes.call, ["nap"] * 8))) == 2


def test_what_a_library_prints_is_not_shown(processes: Processes, capfd: pytest.CaptureFixture[str]) -> None:
    assert processes.call("print") == "printed"
    assert capfd.readouterr() == ("", "")


def test_module_that_cannot_be_imported_is_no_fault_of_the_call() -> None:
    with pytest.raises(RuntimeError, match="before it could start"):
        Processes("tests.no_such_module", count=1, seconds=2, memory_bytes=MEMORY_BYTES).call("pid")


def test_closed_processes_end(processes: Processes) -> None:
    pid = processes.call("pid")
    processes.close()
    assert not psutil.pid_exists(pid)
