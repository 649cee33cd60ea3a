"""Measure systems in turn: with more and more clients, and at a fixed rate."""

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from tests.benchmarks.load import Load, Responses
from tests.benchmarks.peers import profile
from tests.benchmarks.peers.page import FIXED_RATE, PROFILED_CLIENTS, Cell, Results, load_name
from tests.benchmarks.peers.servers import BEFORE, EXPLAIN, OWN_VERBS, PEER_VERBS, PLAIN, SERVICE, Running
from tests.benchmarks.systems import progress, span_seconds
from tests.benchmarks.wrk import Measurement, Wrk, cpu_time_of

CLIENTS = (1, 4, 8, 16)
WARM_UP_SECONDS = 1
IDLE_SECONDS = 3
SLOWNESS = {PLAIN: 2}  # it gets longer rounds: the requests at the end of one that are not answered yet do not count
Rounds = dict[Cell, list[Measurement]]
Loads = Mapping[tuple[str, str], Wrk]  # by verb and system


def measure(systems: dict[str, Running], images: list[bytes], *, rounds: int, seconds: int, rate_seconds: int) -> Results:
    """Measure all systems with each number of clients, and then at half of the slowest one's highest rate.

    Args:
        systems: The systems by name.
        images: Encoded images, which each system gets in turn.
        rounds: Number of rounds.
        seconds: Duration of a round of one system.
        rate_seconds: The same at the fixed rate, and of the samples for the profile.
    """
    loads = {
        (verb, name): Wrk(system.port, [build(image) for image in images], system.processes)
        for name, system in systems.items()
        for verb, build in system.requests.items()
    }
    for (verb, name), load in sorted(loads.items()):
        progress(f"warming up {name}: {verb}")
        load.run(clients=PROFILED_CLIENTS, seconds=WARM_UP_SECONDS * SLOWNESS.get(name, 1))
    idle = _idle_cores(systems)
    closed = {
        Cell(verb, clients, name): _with_clients(loads[verb, name], clients, seconds * SLOWNESS.get(name, 1))
        for clients in CLIENTS
        for verb in PEER_VERBS  # the two ways to explain one after another, since they are compared
        for name in systems
        if (verb, name) in loads
    }
    measured = _interleave(closed, rounds)
    profiles = _profiles(systems, loads, rate_seconds)
    rates = {verb: half_of_the_slowest(verb, measured) for verb in OWN_VERBS}
    with ExitStack() as stack:
        opened = {name: stack.enter_context(Load(system.port)) for name, system in systems.items() if name != PLAIN}
        fixed = {
            Cell(verb, FIXED_RATE, name): _at_rate(load, systems[name], verb, images, rates[verb], rate_seconds)
            for verb in rates
            for name, load in opened.items()
        }
        measured |= _interleave(fixed, rounds)
    return Results(measured, rates, profiles, idle)


def _idle_cores(systems: dict[str, Running]) -> float:
    used = [cpu_time_of(system.processes) for system in systems.values()]
    time.sleep(IDLE_SECONDS)
    return sum(sum(each().values()) for each in used) / IDLE_SECONDS


def _interleave(cells: Mapping[Cell, Callable[[], Measurement]], rounds: int) -> Rounds:
    """Measure all cells one after another, and that a number of times."""
    measured: Rounds = {cell: [] for cell in cells}
    for number in range(rounds):
        for index, (cell, measure_cell) in enumerate(cells.items()):
            measurement = measure_cell()
            measured[cell].append(measurement)
            where = f"{cell.verb}, {load_name(cell.clients)}, {cell.system}"
            figures = f"{measurement.rate:.1f} a second, 99 % within {measurement.p99_ms:.0f} ms"
            progress(f"round {number + 1} of {rounds}, {index + 1} of {len(cells)}: {where}: {figures}")
    return measured


def _with_clients(load: Wrk, clients: int, seconds: int) -> Callable[[], Measurement]:
    return lambda: load.run(clients=clients, seconds=seconds)


def _profiles(systems: dict[str, Running], loads: Loads, seconds: int) -> dict[str, dict[str, profile.Shares]]:
    profiles = {}
    for name in (BEFORE, SERVICE):
        if name in systems:
            progress(f"sampling {name}")
            run = _with_clients(loads[EXPLAIN, name], PROFILED_CLIENTS, seconds)
            profiles[name] = profile.sample(systems[name].processes, run, seconds)
    return profiles


def half_of_the_slowest(verb: str, rounds: Mapping[Cell, list[Measurement]]) -> float:
    """Return half of the slowest system's highest median rate with any number of clients, without the plain way."""
    best: dict[str, float] = {}
    for cell, measured in rounds.items():
        if cell.verb == verb and cell.system != PLAIN:
            rate = statistics.median(each.rate for each in measured)
            best[cell.system] = max(rate, best.get(cell.system, 0))
    return min(best.values()) / 2


def _at_rate(load: Load, system: Running, verb: str, images: list[bytes], rate: float, seconds: int) -> Callable[[], Measurement]:
    requests = [system.requests[verb](image) for image in images]

    def run() -> Measurement:
        used, before = cpu_time_of(system.processes), load.cpu_seconds()
        responses = load.opened(requests, rate=rate, seconds=seconds).result()
        return at_fixed_rate(responses, load.cpu_seconds() - before, used())

    return run


def at_fixed_rate(responses: Responses, load_cpu: float = 0.0, cpu: dict[str, float] | None = None) -> Measurement:
    """Measure the responses to requests at a fixed rate; each duration starts when the request was due.

    Raises:
        SystemExit: A request failed or had another status than 200.
    """
    failed = [response for response in responses if response.status != 200]
    if failed:
        raise SystemExit(f"{len(failed)} of {len(responses)} responses are not 200, the first: {failed[0]}")
    seconds = span_seconds(responses)
    cpu_ms = {name: used * 1e3 / len(responses) for name, used in (cpu or {}).items()}
    return Measurement.of([each.seconds for each in responses], seconds, load_cpu / seconds)._replace(cpu_ms=cpu_ms)
