"""The comparison with the peers: what its page says, and that its load generators measure what a server does."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.benchmarks.load import Load, Response, json_post
from tests.benchmarks.peers.measure import at_fixed_rate, half_of_the_slowest
from tests.benchmarks.peers.page import CNN, FIXED_RATE, Cell, Results, page, ratios
from tests.benchmarks.peers.profile import shares
from tests.benchmarks.peers.servers import BEFORE, EXPLAIN, EXPLAIN_OURS, PLAIN, PREDICT, SERVICE
from tests.benchmarks.wrk import Measurement, Wrk
from tests.tools import tool

CLIENTS = 4
REQUESTS = [json_post("/", {"image": "a" * 1000}), json_post("/", {"image": "b"})]


def rounds(*rates: float, p99_ms: float = 0, **cpu_ms: float) -> list[Measurement]:
    return [Measurement(rate, 1e3 / rate, 2e3 / rate, p99_ms, 0.01, cpu_ms) for rate in rates]


def results() -> Results:
    measured = {
        Cell(PREDICT, CLIENTS, BEFORE): rounds(99, 100, 500, transformer=3, **{"stand-in": 7}),
        Cell(PREDICT, CLIENTS, SERVICE): rounds(170, 160, 10, transformer=2, **{"stand-in": 5}),
        Cell(PREDICT, CLIENTS, "MLServer"): rounds(200, 200, 999),
        Cell(PREDICT, CLIENTS, "FastAPI"): rounds(190, 999, 1),
        Cell(EXPLAIN, CLIENTS, SERVICE): rounds(120, 120, 120, transformer=4, **{"stand-in": 6}),
        Cell(EXPLAIN, CLIENTS, "MLServer"): rounds(60, 60, 60),
        Cell(EXPLAIN, CLIENTS, "FastAPI"): rounds(80, 80, 80),
        Cell(EXPLAIN, CLIENTS, PLAIN): rounds(15, 15, 15),
        Cell(EXPLAIN_OURS, CLIENTS, "FastAPI"): rounds(150, 150, 150),
        Cell(PREDICT, FIXED_RATE, SERVICE): rounds(50, 50, 50, p99_ms=23),
        Cell(PREDICT, FIXED_RATE, "MLServer"): rounds(50, 50, 50, p99_ms=20),
        Cell(PREDICT, FIXED_RATE, "FastAPI"): rounds(50, 50, 50, p99_ms=40),
    }
    return Results(measured, {PREDICT: 50}, {SERVICE: {"transformer": [("aiohttp", 0.25)]}})


def test_ratio_is_that_of_the_medians_to_the_best_peer() -> None:
    found = {(each.target.verb, each.clients, each.against): (each.value, each.met) for each in ratios(CNN, results())}
    assert found == {
        (PREDICT, CLIENTS, "MLServer"): (160 / 200, True),
        (EXPLAIN, CLIENTS, "FastAPI"): (120 / 80, True),
        (EXPLAIN_OURS, CLIENTS, "FastAPI"): (120 / 150, False),
        (PREDICT, FIXED_RATE, "MLServer"): (23 / 20, False),
        (EXPLAIN, CLIENTS, PLAIN): (120 / 15, False),
    }


def test_page_shows_the_medians_of_all_systems_side_by_side() -> None:
    lines = page("# Benchmarks", {CNN: results()}).splitlines()
    assert lines[0] == "# Benchmarks"
    assert f"|  | clients | {BEFORE} | {SERVICE} | MLServer | FastAPI | {PLAIN} |" in lines
    assert "| predict | 4 | 100 | 160 | 200 | 190 |  |" in lines
    assert "| explain, our overlay | 4 |  | 120 |  | 150 |  |" in lines
    assert "| predict, 50 a second | p99 |  | 23.0 | 20.0 | 40.0 |" in lines
    assert "| predict | 4 clients | requests a second | MLServer | 0.80 | at least 0.8; aim 1 | yes |" in lines
    assert "| predict | fixed rate | 99th percentile | MLServer | 1.15 | at most 1.1 | **no** |" in lines
    assert "| this service | transformer | 2.0 ms | 4.0 ms |" in lines
    assert "| this service | stand-in | 5.0 ms | 6.0 ms |" in lines
    assert "| 25 % aiohttp |" in lines


def test_fixed_rate_is_half_of_the_slowest_but_for_the_plain_way() -> None:
    measured = results().rounds
    assert half_of_the_slowest(EXPLAIN, {cell: list(each) for cell, each in measured.items()}) == 60 / 2


def test_shares_name_the_innermost_frame_of_the_threads_that_work() -> None:
    library = "/venv/lib/python3.11/site-packages"
    stacks = [
        f"main (/a/serving/__main__.py:9);run ({library}/uvicorn/server.py:3);predict (/a/serving/v1.py:7) 6",
        "main (/a/x.py);loads (/usr/lib/python3.11/json/decoder.py:5) 1",
        "_bootstrap (/usr/lib/python3.11/threading.py:5);_worker (/usr/lib/python3.11/concurrent/futures/thread.py:5) 90",
        "get (/usr/lib/python3.11/queue.py:5);Condition.wait (/usr/lib/python3.11/threading.py:5) 90",
        "main (/a/x.py);Runner.run (/usr/lib/python3.11/asyncio/runners.py:5) 10",
        f"run ({library}/aiohttp/client.py:3) 3",
    ]
    loop, decoder = "the event loop: uvloop and its sockets", "decoder of the standard library"
    found = [(loop, 0.5), ("serving/v1.py: predict", 0.3), ("aiohttp", 0.15), (decoder, 0.05)]
    assert shares("\n".join(stacks)) == found


@contextmanager
def server(delay: Callable[[int], Awaitable[None]], status: int = 200, *, closes: bool = False) -> Iterator[int]:
    """Run an HTTP server that waits before each response for what `delay` returns for the request's number; yield its port.

    With `closes` it closes each connection after a response, without saying so in it.
    """
    loop, started, numbers = asyncio.new_event_loop(), threading.Event(), iter(range(10**9))
    listening: list[asyncio.Server] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            await delay(next(numbers))
            writer.write(b"HTTP/1.1 %d x\r\nContent-Length: 2\r\n\r\n{}" % status)
            if closes:
                raise ConnectionError

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    def run() -> None:
        listening.append(loop.run_until_complete(asyncio.start_server(connected, "127.0.0.1", 0)))
        started.set()
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        listening[0].close()
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    try:
        yield listening[0].sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def test_percentiles_at_a_fixed_rate_are_those_of_the_durations() -> None:
    responses = [Response(0, number / 100, (number + 1) / 1000, 200, False, b"") for number in range(100)]
    measurement = at_fixed_rate(responses, load_cpu=0.1)
    assert (measurement.median_ms, measurement.p95_ms, measurement.p99_ms) == pytest.approx((50.5, 95.05, 99.01))
    assert (measurement.rate, measurement.load_cores) == pytest.approx((100 / 1.09, 0.1 / 1.09))
    with pytest.raises(SystemExit, match="1 of 101 responses are not 200"):
        at_fixed_rate([*responses, Response(0, 0, 1, 503, True, b"")])


def test_open_loop_counts_what_waits_behind_a_stall() -> None:
    one_at_a_time = asyncio.Lock()

    async def stall_once(number: int) -> None:
        async with one_at_a_time:
            await asyncio.sleep(0.8 if number == 100 else 0)

    with server(stall_once) as port, Load(port) as load:
        before = load.cpu_seconds()
        responses = load.opened(REQUESTS, rate=100, seconds=3).result()
        assert load.cpu_seconds() > before
    # 80 of 300 requests are due during the stall and wait for its end: 800 ms, 790 ms, ... The others do not wait.
    measurement = at_fixed_rate(responses)
    assert len(responses) == 300
    assert measurement.p99_ms > 750
    assert measurement.p95_ms > 640
    assert measurement.median_ms < 400


def test_connection_that_the_server_closed_while_idle_is_opened_again() -> None:
    async def at_once(number: int) -> None:
        pass

    with server(at_once, closes=True) as port, Load(port) as load:
        responses = load.opened(REQUESTS, rate=20, seconds=1).result()
    assert [response.status for response in responses] == [200] * 20


def test_wrk_measures_rate_and_percentiles_in_a_closed_loop() -> None:
    tool("wrk")

    async def delay(number: int) -> None:
        await asyncio.sleep(0.2 if number % 5 == 0 else 0.02)

    with server(delay) as port:
        measurement = Wrk(port, REQUESTS).run(clients=2, seconds=2)
    assert 5 < measurement.rate <= 2 / ((0.2 + 4 * 0.02) / 5)
    assert measurement.median_ms >= 20
    assert measurement.p95_ms >= 200
    assert 0 < measurement.load_cores < 0.5


def test_wrk_refuses_a_round_with_a_failed_request() -> None:
    tool("wrk")
    with server(lambda number: asyncio.sleep(0.01), status=503) as port, pytest.raises(SystemExit, match="'not_200': "):
        Wrk(port, REQUESTS).run(clients=1, seconds=1)
