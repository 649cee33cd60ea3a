"""A real Prometheus that has watched the real service and page through load, refusals and an outage."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.train.export import phantom_pngs
from pipelines.monitor import command, configuration
from tests.serving import clients
from tests.serving.conftest import Transformer, predictor, transformer
from tests.serving.processes import Service, free_ports, running, wait_for
from tests.tools import tool

LOAD_SECONDS = 4
PICTURES = phantom_pngs(3)


@dataclass(frozen=True)
class Prometheus:
    """Its address, and what can be asked of it."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query; fail with Prometheus's words where it is none."""
        return self._get("query", query=expression)["result"]

    def labels(self, metric: str) -> set[str]:
        """Return the names of all labels that the series of a metric bear; empty where there are none."""
        return {label for series in self._get("series", **{"match[]": metric}) for label in series}

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules with their state."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, what: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{what}", params=parameters, timeout=30).json()
        assert answer["status"] == "success", f"{answer['error']}: {parameters}"
        return answer["data"]


@pytest.fixture(scope="session")
def prometheus(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    tool("prometheus")
    http, grpc, page, page_metrics = free_ports(4)
    with contextlib.ExitStack() as stack:
        front = stack.enter_context(transformer(tiny_model, f"127.0.0.1:{http}"))
        environment = {"API_URL": front.url, "PAGE_PORT": page, "METRICS_PORT": page_metrics}
        stack.enter_context(running("ui", environment, f"http://127.0.0.1:{page_metrics}/metrics"))
        targets = {"transformer": front.url.removeprefix("http://"), "page": f"127.0.0.1:{page_metrics}"}
        watcher = stack.enter_context(watching(targets, tmp_path_factory.mktemp("prometheus")))
        with predictor(tiny_model, http, grpc):
            load(front, LOAD_SECONDS)
        load(front, LOAD_SECONDS)
        time.sleep(2.5)  # until both the last scrape and the rules that follow it are there
        yield watcher


@contextlib.contextmanager
def watching(targets: dict[str, str], folder: Path) -> Iterator[Prometheus]:
    """Start Prometheus on the chart's rules and scrape the targets every second."""
    (port,) = free_ports(1)
    (folder / "prometheus.yml").write_text(configuration(targets, scrape_seconds=1))
    output = folder / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(command(folder, port=port), stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}/-/ready", Service(process, output))
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=20)


def load(front: Transformer, seconds: float) -> None:
    """Ask in every protocol, with and without explanation, and also what is refused; the answers do not matter here."""
    request = clients.infer_request(PICTURES[:1], explain=True)
    deadline = time.monotonic() + seconds
    with httpx.Client(base_url=front.url, timeout=30) as client:
        while time.monotonic() < deadline:
            client.post("/predict", files=clients.form(PICTURES[0]))
            client.post("/predict?explain=true", files=clients.form(PICTURES[1]))
            client.post("/predict", files=clients.form(b"no picture"))
            for verb in ("predict", "explain"):
                client.post(f"{clients.V1}:{verb}", json=clients.instances(PICTURES))
            client.post(clients.INFER, json=clients.tensors(PICTURES))
            client.get("/nowhere")
            client.get("/readyz")
            with contextlib.suppress(Exception):
                clients.infer(front.grpc, request)
