"""A gateway in this process, between the tests' own PACS and service."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from serving.dicomweb.gateway import Gateway
from serving.dicomweb.metrics import Metrics
from serving.dicomweb.rules import Rule
from serving.dicomweb.settings import Settings
from serving.dicomweb.state import State, exclusive_state
from serving.logs import logger
from tests.serving.dicomweb.fake_pacs import FakePacs, serving_fake_pacs
from tests.serving.dicomweb.fake_series_service import FakeSeriesService, serving_fake_series

SECONDS = 60.0
RULES = (Rule(description="t1.*", orientation="axial", least_slices=3),)


@dataclass
class Bench:
    """A gateway, which `start` starts anew on the same state, and what is around it."""

    pacs: FakePacs
    service: FakeSeriesService
    state: State
    settings: dict[str, Any]
    rules: tuple[Rule, ...] = RULES
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))
    gateway: Gateway | None = None

    def start(self, **settings: Any) -> None:
        """Start a gateway in place of the one before, and let it look through the PACS."""
        self.settings |= settings
        self.gateway = Gateway(Settings(**self.settings), self.rules, self.state, self.metrics)
        self.gateway.step()

    def work_until(self, reached: Callable[[], object], seconds: float = SECONDS) -> None:
        """Let the gateway work until something is so, and fail if it never is."""
        assert self.gateway
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, self.state.dead_letters()
            time.sleep(self.gateway.step())

    def work_for(self, steps: int) -> None:
        """Let the gateway take some steps."""
        assert self.gateway
        for _ in range(steps):
            time.sleep(self.gateway.step())

    def has_finished(self) -> bool:
        """Check that no series waits, and at least one is done."""
        statuses = self.statuses()
        return "done" in statuses and not {"seen", "queued", "predicted"}.intersection(statuses)

    def statuses(self) -> list[str]:
        """Return the status of each series, in the order of their arrival."""
        return [status for (status,) in self.state._database.execute("SELECT status FROM series ORDER BY rowid")]

    def value(self, name: str, **labels: str) -> float:
        """Return the value of a metric."""
        value = self.metrics.registry.get_sample_value(f"brain_tumor_dicomweb_{name}", labels)
        assert value is not None
        return value


@pytest.fixture
def bench(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Bench]:
    """Return a gateway that has looked through an empty PACS."""
    caplog.set_level(logging.INFO, logger.name)
    with serving_fake_pacs() as pacs, serving_fake_series() as service, exclusive_state(tmp_path / "state.sqlite") as state:
        settings = {"dicomweb_url": pacs.url, "api_url": service.url, "poll_seconds": 0.02, "stable_seconds": 0.05}
        bench = Bench(pacs, service, state, settings)
        bench.start()
        yield bench
