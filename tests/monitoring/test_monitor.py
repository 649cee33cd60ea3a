"""`make monitor`: Prometheus on this machine, with the chart's rules."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from tests.conftest import ROOT
from tests.monitoring.conftest import Prometheus
from tests.pipelines.conftest import IGNORING_SIGINT
from tests.serving.processes import Service, free_ports, wait_for
from tests.tools import tool

COMMAND = [*IGNORING_SIGINT, sys.executable, "-m", "pipelines.local.monitor", "--runs"]
SCRAPED_SECONDS = 30


def test_monitor_scrapes_this_machine_until_sigint(tmp_path: Path) -> None:
    tool("prometheus")
    registry = CollectorRegistry()
    Gauge("brain_tumor_predictor_available", "1 or 0.", registry=registry).set(1)
    http, nothing, gateway, port = free_ports(4)
    server, thread = start_http_server(http, "127.0.0.1", registry)
    environment = os.environ | {"HTTP_PORT": str(http), "METRICS_PORT": str(nothing), "MONITOR_PORT": str(port)}
    environment["GATEWAY_PORT"] = str(gateway)
    output = tmp_path / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen([*COMMAND, str(tmp_path)], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}/-/ready", Service(process, output))
        assert f"queries at http://localhost:{port}, " in output.read_text()
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + SCRAPED_SECONDS
        while len(up := {series["metric"]["job"]: series["value"][1] for series in prometheus.query("up")}) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert up == {"transformer": "1", "page": "0", "gateway": "0"}
        assert [series["value"][1] for series in prometheus.query("brain_tumor_predictor_available")] == ["1"]
        assert any(rule["name"] == "BrainTumorInputDrift" for rule in prometheus.rules())
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        server.shutdown()
        thread.join()
        server.server_close()
    assert (tmp_path / "prometheus" / "data").is_dir()
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/-/ready")


def test_without_prometheus_the_error_names_the_package(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": str(tmp_path)}
    ended = subprocess.run([*COMMAND, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "error: no program `prometheus`; install it as root on Debian: `make tools` or `apt-get install prometheus`"
    ]
    assert not (tmp_path / "prometheus").exists()
