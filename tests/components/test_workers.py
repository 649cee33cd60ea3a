"""Functions in processes: order, limits, and processes that die."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from components.workers import CHUNKS_PER_PROCESS, MAX_PROCESS_BYTES, Failure, Workers

HOSTILE = {17: "kill", 50: "segfault", 51: "exit", 99: "kill"}


def square(number: int) -> int:
    return number * number


def square_if_it_lives(number: int) -> int:
    match HOSTILE.get(number):
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
    return number * number


def hang_at_two(number: int) -> int:
    if number == 2:
        time.sleep(600)
    return number


def refuse_three(number: int) -> int:
    if number == 3:
        raise ValueError("got 3")
    return number


def allocate_too_much(number: int) -> str:
    try:
        np.ones(MAX_PROCESS_BYTES, np.uint8)
    except MemoryError:
        return "out of memory"
    return "allocated"


def process_id(_: int) -> int:
    return os.getpid()


def test_items_that_end_their_process_cost_no_other() -> None:
    with Workers(3) as workers:
        results = list(workers.map(square_if_it_lives, range(100)))
    failures = {number: result for number, result in enumerate(results) if isinstance(result, Failure)}
    assert {number: failure.code for number, failure in failures.items()} == dict.fromkeys(HOSTILE, "killed")
    assert [failures[number].reason for number in (17, 50, 51)] == [
        "reading it ended the process, with signal SIGKILL, as when memory runs out",
        "reading it ended the process, with signal SIGSEGV",
        "reading it ended the process, with exit status 3",
    ]
    assert [result for result in results if not isinstance(result, Failure)] == [n * n for n in range(100) if n not in HOSTILE]


def test_item_that_hangs_is_given_up() -> None:
    with Workers(1) as workers:
        results = list(workers.map(hang_at_two, range(4), chunk_items=2, seconds_per_chunk=5))
    assert results == [0, 1, Failure("too_slow", "it took too long to read and was given up"), 3]


def test_results_have_the_order_of_the_items_and_few_are_in_memory() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with Workers(2) as workers:
        for position, result in enumerate(workers.map(square, items(), chunk_items=4)):
            assert result == position**2
            assert len(taken) <= position + 2 * CHUNKS_PER_PROCESS * 4 + 4


def test_what_the_function_raises_is_raised_and_the_workers_go_on() -> None:
    with Workers(1) as workers:
        with pytest.raises(ValueError, match="got 3"):
            list(workers.map(refuse_three, range(6)))
        assert list(workers.map(square, range(3))) == [0, 1, 4]


def test_processes_stay_for_the_next_call_and_end_with_the_context() -> None:
    with Workers(1) as workers:
        first, second = ({*workers.map(process_id, range(40))} for _ in range(2))
    assert first == second
    (process,) = first
    with pytest.raises(ProcessLookupError):
        os.kill(int(str(process)), 0)


def test_few_items_start_few_processes() -> None:
    with Workers(8) as workers:
        assert len({*workers.map(process_id, range(3))}) == 1
        assert not list(workers.map(process_id, []))


def test_memory_of_a_process_is_limited() -> None:
    with Workers(1) as workers:
        assert list(workers.map(allocate_too_much, range(1))) == ["out of memory"]


def test_processes_that_cannot_start_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Workers(1) as workers, pytest.raises(RuntimeError, match="ended before it could start"):
        list(workers.map(square, range(3)))
