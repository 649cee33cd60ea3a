"""The page of the comparison: tables of medians, and ratios with their targets."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.benchmarks.peers.profile import Shares
from tests.benchmarks.peers.servers import (
    BEFORE,
    EXPLAIN,
    EXPLAIN_OURS,
    OWN_VERBS,
    PEER_VERBS,
    PEERS,
    PLAIN,
    PREDICT,
    SERVICE,
    STAND_IN,
    TRANSFORMER,
)
from tests.benchmarks.wrk import Measurement

FIXED_RATE = 0  # in place of the number of clients
CNN, EVIDENCE = "cnn", "evidence"
PROFILED_CLIENTS = 4
PERCENTILES = {"p50": "median_ms", "p95": "p95_ms", "p99": "p99_ms"}


def load_name(clients: int) -> str:
    """Return `fixed rate`, `1 client`, `4 clients`."""
    return f"{clients} client{'s' if clients > 1 else ''}" if clients else "fixed rate"


class Cell(NamedTuple):
    """What is measured in one place of a table: a verb under a load, in one system."""

    verb: str
    clients: int
    system: str


class Results(NamedTuple):
    """The results of one architecture.

    Attributes:
        rounds: The rounds of each cell.
        rates: Requests a second of each verb in the cells at a fixed rate.
        profiles: Shares of the processor time of each process, by system, of explanations.
        idle_cores: Processor time that all systems together take without a request, in cores.
    """

    rounds: Mapping[Cell, Sequence[Measurement]]
    rates: Mapping[str, float]
    profiles: Mapping[str, Mapping[str, Shares]]
    idle_cores: float = 0.0

    def median(self, verb: str, clients: int, system: str, field: str) -> float | None:
        """Return the median of a field over the rounds; None if the cell was not measured."""
        # Our own overlay is the service's only one.
        verb = EXPLAIN if system in (SERVICE, BEFORE) and verb == EXPLAIN_OURS else verb
        rounds = self.rounds.get(Cell(verb, clients, system))
        return statistics.median(getattr(each, field) for each in rounds) if rounds else None

    @property
    def systems(self) -> list[str]:
        return list(dict.fromkeys(cell.system for cell in self.rounds))

    def clients(self) -> list[int]:
        return sorted({cell.clients for cell in self.rounds} - {FIXED_RATE})


class Target(NamedTuple):
    """A bound on the ratio of the service to the best peer, or to the plain way."""

    architecture: str
    verb: str
    clients: tuple[int, ...]
    field: str = "rate"
    against: str = "best peer"
    at_least: float | None = None
    at_most: float | None = None
    aim: float | None = None


TARGETS = (
    Target(CNN, PREDICT, (1,), at_least=0.75),
    Target(CNN, PREDICT, (4, 8, 16), at_least=0.8, aim=1.0),
    Target(CNN, EXPLAIN, (1, 4, 8, 16), at_least=1.25, aim=1.6),
    Target(CNN, EXPLAIN_OURS, (1, 4, 8, 16), at_least=0.85, aim=1.0),
    Target(EVIDENCE, PREDICT, (1, 4, 8, 16), at_least=0.9, aim=1.05),
    Target(EVIDENCE, EXPLAIN_OURS, (1, 4, 8, 16), at_least=0.9, aim=1.05),
    *(
        Target(architecture, verb, (FIXED_RATE,), "p99_ms", at_most=1.1)
        for architecture in (EVIDENCE, CNN)
        for verb in (PREDICT, EXPLAIN)
    ),
    Target(CNN, EXPLAIN, (4,), against=PLAIN, at_least=10),
)


class Ratio(NamedTuple):
    """A measured ratio and its target."""

    target: Target
    clients: int
    value: float
    against: str

    @property
    def met(self) -> bool:
        lowest, highest = self.target.at_least or 0, self.target.at_most or float("inf")
        return lowest <= self.value <= highest

    def row(self) -> tuple[str, ...]:
        target = self.target
        what = "requests a second" if target.field == "rate" else "99th percentile"
        bound = f"at least {target.at_least:g}" if target.at_least else f"at most {target.at_most:g}"
        aim = f"; aim {target.aim:g}" if target.aim else ""
        return (
            target.verb,
            load_name(self.clients),
            what,
            self.against,
            f"{self.value:.2f}",
            bound + aim,
            "yes" if self.met else "**no**",
        )


def ratios(architecture: str, results: Results) -> Iterator[Ratio]:
    """Yield the ratio of the service's median to the best peer's, or to the plain way's, for each target that was measured."""
    for target in TARGETS:
        if target.architecture != architecture:
            continue
        others = [PLAIN] if target.against == PLAIN else list(PEERS)
        for clients in target.clients:
            ours = results.median(target.verb, clients, SERVICE, target.field)
            found = {name: results.median(target.verb, clients, name, target.field) for name in others}
            theirs = {name: value for name, value in found.items() if value is not None}
            if ours is not None and theirs:
                best = (max if target.field == "rate" else min)(theirs, key=lambda name: theirs[name])
                yield Ratio(target, clients, ours / theirs[best] if theirs[best] else math.inf, best)


def page(intro: str, results: Mapping[str, Results]) -> str:
    """Render the whole page, in Markdown."""
    sections = [_architecture(name, each) for name, each in results.items()]
    return "\n".join([intro.strip(), "", *sections]).rstrip() + "\n"


def _architecture(name: str, results: Results) -> str:
    parts = [
        f"## `{name}`",
        "### Requests a second",
        _rates(results),
        "### Milliseconds at a fixed rate",
        _percentiles(results),
        "### Ratios of the service to the best peer",
        _table(
            ("", "load", "of", "against", "ratio", "target", "met"),
            [ratio.row() for ratio in ratios(name, results)],
        ),
        "### Processor time of a request",
        _processor_times(results),
    ]
    if results.profiles:
        parts += ["### Where the processor time of an explanation goes", *_profiles(results)]
    return "\n\n".join(parts) + "\n"


def _rates(results: Results) -> str:
    rows = []
    for verb in PEER_VERBS:
        for clients in results.clients():
            found = [results.median(verb, clients, system, "rate") for system in results.systems]
            rows.append((verb, str(clients), *("" if rate is None else f"{rate:.0f}" for rate in found)))
    return _table(("", "clients", *results.systems), rows)


def _percentiles(results: Results) -> str:
    systems = [system for system in results.systems if system != PLAIN]
    rows = []
    for verb, rate in results.rates.items():
        for name, field in PERCENTILES.items():
            found = [results.median(verb, FIXED_RATE, system, field) for system in systems]
            rows.append((f"{verb}, {rate:.0f} a second", name, *("" if each is None else f"{each:.1f}" for each in found)))
    return _table(("", "", *systems), rows)


def _processor_times(results: Results) -> str:
    """Tabulate the medians of the processor time of each process, in ms."""
    rows = []
    for system in results.systems:
        cells = {verb: results.rounds.get(Cell(verb, PROFILED_CLIENTS, system), ()) for verb in OWN_VERBS}
        processes = dict.fromkeys(name for rounds in cells.values() for each in rounds for name in each.cpu_ms)
        for process in processes:
            times = [statistics.median(each.cpu_ms[process] for each in rounds) for rounds in cells.values() if rounds]
            rows.append((system, "all" if process == "server" else process, *(f"{each:.1f} ms" for each in times)))
    return _table(("", "process", *OWN_VERBS), rows)


def _profiles(results: Results) -> Iterator[str]:
    systems = [system for system in (BEFORE, SERVICE) if system in results.profiles]
    for process in (TRANSFORMER, STAND_IN):
        columns = [results.profiles[system].get(process, []) for system in systems]
        rows = []
        for index in range(max(map(len, columns), default=0)):
            cells = [column[index] if index < len(column) else None for column in columns]
            rows.append([f"{100 * cell[1]:.0f} % {cell[0]}" if cell else "" for cell in cells])
        if rows:
            yield f"In the {process}:"
            yield _table(systems, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
