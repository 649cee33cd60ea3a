"""`make pacs`: Orthanc with the phantom, the champion and the gateway, up to the results in the study."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from pipelines.local.pacs import PLUGIN
from pipelines.local.ports import Ports
from pipelines.local.serve import main
from tests.pipelines.conftest import exit_message
from tests.pipelines.local.test_serve import serving
from tests.serving.processes import free_ports

RESULT_SECONDS = 120
NAMES = ("PACS_PORT", "GATEWAY_PORT")


@contextmanager
def taken_port(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv(name, str(port))
        yield port


def test_pacs_names_the_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "install it as root on Debian: `apt-get install orthanc-dicomweb`"
    monkeypatch.setattr("pipelines.local.pacs.PLUGIN", tmp_path / "plugin.so")
    monkeypatch.setattr("shutil.which", lambda name, path: "/usr/sbin/Orthanc")
    assert exit_message(main, "--pacs") == f"error: no DICOMweb plug-in {tmp_path}/plugin.so; {message}"
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    assert exit_message(main, "--pacs") == f"error: no program `Orthanc`; {message}"


@pytest.mark.parametrize("name", NAMES)
def test_pacs_names_a_port_that_is_in_use(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.local.pacs._find_orthanc", lambda: "Orthanc")
    for other, port in zip(NAMES, free_ports(2), strict=True):
        monkeypatch.setenv(other, str(port))
    with taken_port(monkeypatch, name) as port:
        assert exit_message(main, "--pacs") == f"error: {name}: got {port}, expected a free port: Address already in use"


def test_ports_are_those_of_the_documentation() -> None:
    assert (Ports.model_fields["pacs_port"].default, Ports.model_fields["gateway_port"].default) == (8042, 8082)


@pytest.fixture
def ports() -> dict[str, str]:
    if not PLUGIN.exists():
        pytest.skip("needs Orthanc and its DICOMweb plug-in: run `make test-pacs`")
    return dict(zip(NAMES, map(str, free_ports(2)), strict=True))


@pytest.mark.pacs
def test_pacs_has_the_results_of_the_phantom_once(runs: Path, passed: object, ports: dict[str, str]) -> None:
    proxy = f"http://127.0.0.1:{free_ports(1)[0]}"  # nothing listens there
    with serving(runs, "--pacs", HTTP_PROXY=proxy, http_proxy=proxy, **ports) as (process, lines):
        assert lines[-1] == "serve: press Ctrl-C to stop"
        assert any("Not for diagnosis" in line for line in lines)
        (study,) = [line.rpartition("uuid=")[2] for line in lines if "explorer.html#study" in line]
        series = wait_for_results(f"http://localhost:{ports['PACS_PORT']}/studies/{study}/series")
        assert {modality: len(found) for modality, found in series.items()} == {"MR": 1, "SR": 1, "OT": len(series["OT"])}
        assert len(series["MR"][0]["Instances"]) == 40
        metrics = httpx.get(f"http://localhost:{ports['GATEWAY_PORT']}/metrics").text
        assert 'brain_tumor_dicomweb_series_total{outcome="done"} 1.0' in metrics
        for address in other_addresses():
            assert httpx.get(f"http://{address}:{ports['PACS_PORT']}/system", trust_env=False).status_code == 401
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert left(children) == []
    with serving(runs, "--pacs", **ports) as (process, lines):
        time.sleep(10)
        assert wait_for_results(f"http://localhost:{ports['PACS_PORT']}/studies/{study}/series") == series
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 4
        process.kill()
        process.wait(timeout=5)
        assert left(children) == []


@pytest.mark.pacs
def test_pacs_ends_and_names_the_process_that_died(runs: Path, passed: object, ports: dict[str, str]) -> None:
    for program, name in (("/usr/sbin/Orthanc", "Orthanc"), ("serving.dicomweb", "the gateway")):
        with serving(runs, "--pacs", **ports) as (process, _):
            (child,) = [each for each in psutil.Process(process.pid).children() if program in each.cmdline()]
            child.kill()
            assert process.stdout is not None
            assert process.stdout.read().endswith(f"error: {name} ended with signal 9\n")
            assert process.wait(timeout=60) == 1


def wait_for_results(url: str) -> dict[str, list[dict[str, Any]]]:
    """Return the series of a study by modality, once it has a report."""
    deadline = time.monotonic() + RESULT_SECONDS
    while True:
        found: dict[str, list[dict[str, Any]]] = {}
        for series in httpx.get(url, trust_env=False).json():
            del series["LastUpdate"], series["IsStable"]
            series["Instances"].sort()
            found.setdefault(series["MainDicomTags"]["Modality"], []).append(series)
        if "SR" in found:
            return json.loads(json.dumps(found, sort_keys=True))
        assert time.monotonic() < deadline, f"series by modality: { {name: len(each) for name, each in found.items()} }"
        time.sleep(0.5)


def other_addresses() -> list[str]:
    """Return this machine's IPv4 addresses in networks: who connects to one comes from it, as another machine would."""
    of_interfaces = [each for name, found in psutil.net_if_addrs().items() if name != "lo" for each in found]
    return [each.address for each in of_interfaces if each.family == socket.AF_INET]


def left(children: list[psutil.Process]) -> list[psutil.Process]:
    """Return which of some processes do not end."""
    _, alive = psutil.wait_procs(children, timeout=5)
    return [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]
