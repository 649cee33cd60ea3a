"""A real Prometheus that has scraped the real service, web page and PACS gateway during load, rejections and an outage."""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from brain_tumor.phantom_series import encode, phantom_series
from brain_tumor.phantoms import phantom_pngs
from components.evaluate.drift_reference import drift_reference
from pipelines.local.monitor import command, configuration
from tests.serving import clients
from tests.serving.conftest import Transformer, predictor, transformer
from tests.serving.dicomweb.fake_pacs import serving_fake_pacs
from tests.serving.processes import Service, free_ports, running, wait_for
from tests.tools import tool
from tests.ui.conftest import SLICES

LOAD_SECONDS = 4
RESPONSE_TIMEOUT_SECONDS = 30
IMAGES = phantom_pngs(3)
ROUND = (5, 4, 3)  # how often each of them is sent in one round of `load`
HELD_OUT = (np.array([0.04, 0.15, 0.17, 0.45]), np.array([100, 200, 300, 400]), np.array([0.52, 0.58, 0.7, 0.9]))
"""Brightness, longest side in pixels, and confidence of a fictitious held-out test set."""


@dataclass(frozen=True)
class Prometheus:
    """A client of Prometheus at `url`."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query. Fail with Prometheus's message if the query is invalid."""
        return self._get("query", query=expression)["result"]

    def labels(self, metric: str) -> set[str]:
        """Return the label names of a metric's series; empty if there are no series."""
        return {label for series in self._get("series", **{"match[]": metric}) for label in series}

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules with their state."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str, **parameters: str) -> Any:
        response = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30).json()
        assert response["status"] == "success", f"{response['error']}: {parameters}"
        return response["data"]


@pytest.fixture(scope="session")
def measured_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as version 1, with a drift reference in its model.json as evaluate writes it: that of `HELD_OUT`."""
    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("measured") / "model")
    card = folder / "assets.extra" / "model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"reference": drift_reference(*HELD_OUT), "version": "1"}))
    return folder


@pytest.fixture(scope="session")
def prometheus(measured_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    tool("prometheus")
    http, grpc, page, page_metrics, gateway_metrics = free_ports(5)
    with contextlib.ExitStack() as stack:
        front = stack.enter_context(transformer(measured_model, f"127.0.0.1:{http}"))
        environment = {"API_URL": front.url, "PAGE_PORT": page, "METRICS_PORT": page_metrics}
        stack.enter_context(running("ui", environment, f"http://127.0.0.1:{page_metrics}/metrics"))
        targets = {"transformer": front.url.removeprefix("http://"), "page": f"127.0.0.1:{page_metrics}"}
        targets["gateway"] = f"127.0.0.1:{gateway_metrics}"
        started = stack.enter_context(scraping(targets, tmp_path_factory.mktemp("prometheus")))
        with predictor(measured_model, http, grpc):
            upload_slice(f"http://127.0.0.1:{page}", f"http://127.0.0.1:{page_metrics}/metrics")
            stack.enter_context(gateway(front.url, gateway_metrics, tmp_path_factory.mktemp("gateway")))
            load(front, LOAD_SECONDS)
        load(front, LOAD_SECONDS)
        time.sleep(2.5)  # for the last scrape and the evaluation of the rules after it
        yield started


@contextlib.contextmanager
def scraping(targets: dict[str, str], folder: Path) -> Iterator[Prometheus]:
    """Start Prometheus with the chart's rules, scraping the targets every second."""
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


def upload_slice(page_url: str, metrics_url: str) -> None:
    """Upload an image in a browser, and wait until the web page has counted its prediction."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=tool("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(page_url)
        page.locator(SLICES).set_input_files({"name": "slice.png", "mimeType": "image/png", "buffer": IMAGES[0]})
        wait_for_metric(metrics_url, 'brain_tumor_ui_uploads_total{outcome="answered"} 1.0')
        browser.close()


@contextlib.contextmanager
def gateway(api_url: str, metrics_port: int, folder: Path) -> Iterator[None]:
    """Run the PACS gateway: a series gets its results, and then the PACS fails."""
    (folder / "rules.yaml").write_text("- {description: phantom.*, backlog: true}\n")
    settings = {"API_URL": api_url, "RULES": folder / "rules.yaml", "STATE": folder / "state.sqlite"}
    settings |= {"METRICS_PORT": metrics_port, "POLL_SECONDS": 0.5, "STABLE_SECONDS": 2}
    metrics = f"http://127.0.0.1:{metrics_port}/metrics"
    with serving_fake_pacs() as pacs, running("serving.dicomweb", settings | {"DICOMWEB_URL": pacs.url}, metrics):
        pacs.add(*map(encode, phantom_series(slices=2)))
        wait_for_metric(metrics, 'brain_tumor_dicomweb_series_total{outcome="done"} 1.0')
        pacs.fault = ("GET", "/series", 500, b"")
        wait_for_metric(metrics, "brain_tumor_dicomweb_pacs_available 0.0")
        yield


def wait_for_metric(url: str, line: str) -> None:
    """Wait until a process exports a line."""
    deadline = time.monotonic() + RESPONSE_TIMEOUT_SECONDS
    while line not in httpx.get(url).text:
        assert time.monotonic() < deadline, f"no {line}"
        time.sleep(0.2)


def load(front: Transformer, seconds: float) -> None:
    """Send requests in every protocol, with and without explanation, valid and invalid; ignore the responses."""
    request = clients.infer_request(IMAGES[:1], explain=True)
    deadline = time.monotonic() + seconds
    with httpx.Client(base_url=front.url, timeout=30) as client:
        while time.monotonic() < deadline:
            client.post("/predict", files=clients.form(IMAGES[0]))
            client.post("/predict?explain=true", files=clients.form(IMAGES[1]))
            client.post("/predict", files=clients.form(b"no image"))
            for verb in ("predict", "explain"):
                client.post(f"{clients.V1}:{verb}", json=clients.instances(IMAGES))
            client.post(clients.INFER, json=clients.tensors(IMAGES))
            client.get("/nowhere")
            client.get("/readyz")
            with contextlib.suppress(Exception):
                clients.infer(front.grpc, request)
