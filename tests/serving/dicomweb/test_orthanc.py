"""The gateway as a process of its own, between a real PACS and the real service, with faults in between."""

import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pydicom
import pytest
import requests
from pydicom.uid import generate_uid

from serving.dicomweb.uids import result_uids
from tests.brain_tumor.dicoms import PHI, PRIVATE_PHI
from tests.conftest import MadeOnce
from tests.serving.brightness_model import CARD, save_model
from tests.serving.conftest import Pair
from tests.serving.dicomweb.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.serving.dicomweb.orthanc import Orthanc, running_orthanc
from tests.serving.dicomweb.series_files import series, write
from tests.serving.dicomweb.test_results import dump, errors
from tests.serving.processes import Service, free_ports, running
from tests.serving.series_client import post

pytestmark = pytest.mark.pacs

SLICES = 40
SECONDS = 90.0
RESULTS = 5  # report, parametric map, three secondary captures
RULES = "- {description: 't1 axial.*', orientation: axial, least_slices: 20}\n"


@dataclass
class Chain:
    """Orthanc, the service, a proxy in front of each, and the gateway, which can be killed and started again."""

    orthanc: Orthanc
    to_pacs: FaultProxy
    to_service: FaultProxy
    folder: Path
    metrics_port: int
    processes: ExitStack = field(default_factory=ExitStack)
    gateway: Service | None = None

    @property
    def environment(self) -> dict[str, object]:
        return {
            "DICOMWEB_URL": self.to_pacs.url,
            "API_URL": self.to_service.url,
            "RULES": self.folder / "rules.yaml",
            "STATE": self.folder / "state.sqlite",
            "POLL_SECONDS": 0.3,
            "STABLE_SECONDS": 1,
            "METRICS_PORT": self.metrics_port,
        }

    def start(self, **settings: object) -> None:
        """Start the gateway."""
        url = f"http://127.0.0.1:{self.metrics_port}/healthz"
        self.gateway = self.processes.enter_context(running("serving.dicomweb", self.environment | settings, url))

    def kill(self) -> None:
        """Kill the gateway, which has no time to clean up."""
        assert self.gateway
        self.gateway.process.kill()
        self.gateway.process.wait()

    def send(self, files: list[bytes]) -> str:
        """Send a series to the PACS, and return its UID."""
        self.orthanc.send(write(files, self.folder / f"sent-{time.monotonic_ns()}"))
        return str(pydicom.dcmread(io.BytesIO(files[0])).SeriesInstanceUID)

    def wait(self, reached: Callable[[], object], seconds: float = SECONDS) -> float:
        """Wait until something is so, and return the seconds it took."""
        started = time.monotonic()
        while not reached():
            output = self.gateway.output.read_text() if self.gateway else ""
            assert time.monotonic() < started + seconds, f"{self.statuses()} {output[-3000:]}"
            time.sleep(0.1)
        return time.monotonic() - started

    def statuses(self) -> list[str]:
        with closing(sqlite3.connect(self.folder / "state.sqlite", timeout=30)) as database:
            return [status for (status,) in database.execute("SELECT status FROM series ORDER BY rowid")]

    def results(self) -> list[str]:
        """Return the UIDs of the results in the PACS."""
        return sorted(uid for uids in self.orthanc.instances().values() for uid in uids if uid.startswith("2.25."))

    def has_results(self) -> bool:
        return self.statuses() == ["done"] and len(self.results()) == RESULTS

    def metric(self, name: str) -> float:
        text = requests.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text
        return float(next(line for line in text.splitlines() if line.startswith(f"brain_tumor_dicomweb_{name} ")).split()[1])


@contextmanager
def running_chain(folder: Path, service_url: str) -> Iterator[Chain]:
    """Run a chain without faults, whose gateway has looked through the empty PACS."""
    (folder / "rules.yaml").write_text(RULES)
    with (
        running_orthanc(folder / "orthanc") as orthanc,
        fault_proxy(orthanc.url) as to_pacs,
        fault_proxy(service_url) as to_service,
        ExitStack() as processes,
    ):
        chain = Chain(orthanc, to_pacs, to_service, folder, free_ports(1)[0], processes)
        chain.start()
        chain.wait(lambda: chain.metric("pacs_available") == 1)
        yield chain


@pytest.fixture
def chain(tmp_path: Path, brightness_service: Pair) -> Iterator[Chain]:
    """Return a chain without faults, with the real service."""
    with running_chain(tmp_path, brightness_service.url) as chain:
        yield chain


def test_a_series_gets_its_results_within_30_seconds_and_once(chain: Chain) -> None:
    files = series(SLICES)
    uid = chain.send(files)
    seconds = chain.wait(chain.has_results)
    print(f"\n{SLICES} slices: results {seconds:.1f} s after storescu, of which 1 s of waiting for more instances")
    assert seconds < 31
    results = [pydicom.dcmread(io.BytesIO(chain.orthanc.file(uid))) for uid in chain.results()]
    kinds = sorted(result.SOPClassUID.name for result in results)
    assert kinds == ["Comprehensive 3D SR Storage", "Parametric Map Storage", *["Secondary Capture Image Storage"] * 3]
    assert {result.StudyInstanceUID for result in results} == {pydicom.dcmread(io.BytesIO(files[0])).StudyInstanceUID}
    assert result_uids(uid, "brain-tumor", "3").report in chain.results()
    before, predictions = chain.results(), chain.to_service.requests.count("POST /series")
    chain.send(files)
    time.sleep(4)
    assert (chain.results(), chain.statuses()) == (before, ["done"])
    assert chain.to_service.requests.count("POST /series") == predictions == 1


def test_its_results_have_no_error_and_the_values_of_the_service(chain: Chain, brightness_service: Pair, tmp_path: Path) -> None:
    files = series(SLICES)
    chain.send(files)
    chain.wait(chain.has_results)
    results = [pydicom.dcmread(io.BytesIO(chain.orthanc.file(uid))) for uid in chain.results()]
    assert [errors(result, tmp_path) for result in results] == [[]] * RESULTS
    answer = post(brightness_service.url, files).json()
    expected = [each["probability"] for each in answer["slices"]]
    text = dump(next(result for result in results if result.Modality == "SR"), tmp_path)
    shown = [float(value) for value in re.findall(r'"Probability"\)="([^"]*)"', text)]
    assert shown == pytest.approx([max(expected), *expected], abs=1e-13)  # 16 characters
    kinds = {result.SOPClassUID.name for result in results}
    print(f"\ndciodvfy: no error in {len(results)} results of {len(kinds)} kinds; dsrdump: {len(shown)} values as the service's")


# Where a request meets the gateway's end, and how many requests to store a result the whole then takes.
KILLS = {
    "while the instances are fetched": ("to_pacs", Fault("GET", "/instances/", 20), "before", RESULTS),
    "before the service has answered": ("to_service", Fault("POST", "/series", 1), "before", RESULTS),
    "before it has received the service's answer": ("to_service", Fault("POST", "/series", 1), "after", RESULTS),
    "before the first result is stored": ("to_pacs", Fault("POST", "/studies/", 1, answer=(503, b"")), "before", RESULTS + 1),
    "after the first result is stored": ("to_pacs", Fault("POST", "/studies/", 1), "after", RESULTS),
    "before the report is stored": ("to_pacs", Fault("POST", "/studies/", RESULTS, answer=(503, b"")), "before", RESULTS + 1),
    "after the report is stored, before it knows": ("to_pacs", Fault("POST", "/studies/", RESULTS), "after", RESULTS),
}


@pytest.mark.parametrize(("proxy", "fault", "when", "requests_to_store"), KILLS.values(), ids=KILLS)
def test_killed_it_leaves_exactly_one_set(chain: Chain, proxy: str, fault: Fault, when: str, requests_to_store: int) -> None:
    setattr(fault, when, chain.kill)
    getattr(chain, proxy).faults = [fault]
    uid = chain.send(series(SLICES))
    assert chain.gateway
    chain.gateway.process.wait(SECONDS)
    chain.start()
    chain.wait(chain.has_results)
    uids = result_uids(uid, "brain-tumor", "3")
    assert chain.results() == sorted([uids.report, uids.map, *uids.captures[:3]])
    assert sum(request.startswith("POST /studies/") for request in chain.to_pacs.requests) == requests_to_store


def test_orthanc_is_stopped_and_started_again(chain: Chain) -> None:
    files = series(SLICES)
    chain.to_pacs.faults = [Fault("GET", "/instances/", 20, before=chain.orthanc.stop)]
    chain.send(files)
    chain.wait(lambda: chain.metric("pacs_available") == 0)
    assert requests.get(f"http://127.0.0.1:{chain.metrics_port}/readyz", timeout=10).status_code == 503
    time.sleep(3)
    chain.orthanc.start()
    chain.wait(chain.has_results)
    assert requests.get(f"http://127.0.0.1:{chain.metrics_port}/readyz", timeout=10).status_code == 200


FAULTS = {
    "rubbish to queries": ("to_pacs", Fault("GET", "^/series", answer=(200, b"<html>rubbish</html>"))),
    "rubbish in place of instances": ("to_pacs", Fault("GET", "/instances/", answer=(200, b"rubbish" * 1000))),
    "rubbish to STOW": ("to_pacs", Fault("POST", "/studies/", answer=(200, b"<html>rubbish</html>"))),
    "STOW refused with 503": ("to_pacs", Fault("POST", "/studies/", answer=(503, b""))),
    "STOW refused with 403": ("to_pacs", Fault("POST", "/studies/", answer=(403, b""))),
    "the service unavailable": ("to_service", Fault("POST", "/series", answer=(503, b"{}"))),
    "rubbish from the service": ("to_service", Fault("POST", "/series", answer=(200, b"rubbish"))),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_it_comes_back_by_itself(chain: Chain, fault: tuple[str, Fault]) -> None:
    proxy, what = fault
    getattr(chain, proxy).faults = [what]
    chain.send(series(SLICES))
    chain.wait(lambda: what.count >= 3)
    assert chain.results() == []
    getattr(chain, proxy).faults = []
    chain.wait(chain.has_results)


STOPS = {"killed": signal.SIGKILL, "told to end": signal.SIGTERM}


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
def test_a_transformer_that_ends_amid_a_series_is_started_again(
    stop: signal.Signals, tmp_path: Path, brightness_service: Pair, made_once: MadeOnce
) -> None:
    http, grpc = free_ports(2)
    url, host = f"http://127.0.0.1:{http}", brightness_service.predictor_url.removeprefix("http://")
    model = made_once("brightness_model", lambda folder: save_model(folder, CARD))
    settings = {
        "MODEL_DIR": model,
        "HTTP_PORT": http,
        "GRPC_PORT": grpc,
        "PREDICTOR_HOST": host,
        "PREDICTOR_TIMEOUT_SECONDS": 200,
    }
    predictor = psutil.Process(brightness_service.predictor.process.pid)
    with running_chain(tmp_path, url) as chain:
        unreachable = 'failures_total{code="unreachable",step="predict"}'
        with running("serving", settings, f"{url}/readyz") as transformer:
            chain.to_service.faults = [Fault("POST", "^/series", 1, before=predictor.suspend)]
            try:
                uid = chain.send(series(SLICES))
                chain.wait(lambda: "POST /series" in chain.to_service.requests)
                time.sleep(2)  # so that the transformer has the series, and waits for the predictor
                transformer.process.send_signal(stop)
                seconds = chain.wait(lambda: transformer.process.poll() is not None)
            finally:
                predictor.resume()
        assert chain.metric(unreachable) <= 1
        chain.wait(lambda: chain.metric(unreachable) >= 2)
        assert (chain.statuses(), chain.results()) == (["queued"], [])
        with running("serving", settings, f"{url}/readyz"):
            chain.wait(chain.has_results)
        uids = result_uids(uid, "brain-tumor", "3")
        assert chain.results() == sorted([uids.report, uids.map, *uids.captures[:3]])
        assert chain.gateway
        codes = [json.loads(line).get("code") for line in chain.gateway.output.read_text().splitlines()]
        print(
            f"\ntransformer ended {seconds:.1f} s after the signal; failures of the gateway: {[code for code in codes if code]}"
        )


def test_a_series_at_which_the_service_always_fails_is_a_dead_letter_and_holds_up_no_other(chain: Chain) -> None:
    chain.kill()
    chain.start(POLL_SECONDS=0.01)
    chain.to_service.faults = [Fault("POST", "^/series", answer=(500, b"{}"))]
    uid = chain.send(series(SLICES))
    chain.wait(lambda: chain.statuses() == ["dead"])
    assert command(chain, "dead-letters").splitlines()[1].split("\t")[1:3] == ["unavailable", uid]
    chain.to_service.faults = []
    chain.send(series(SLICES))
    chain.wait(lambda: chain.statuses() == ["dead", "done"])
    assert command(chain, "retry", "--all") == "queued again: 1\n"
    chain.wait(lambda: chain.statuses() == ["done", "done"])
    assert len(chain.results()) == 2 * RESULTS


def test_a_slow_pacs_is_waited_for(chain: Chain) -> None:
    chain.to_pacs.faults = [Fault("GET", "/instances/", nth=0, seconds=0.3), Fault("POST", "/studies/", seconds=2)]
    chain.send(series(SLICES))
    chain.wait(chain.has_results)


def test_a_refused_stow_is_a_dead_letter_that_the_commands_print_and_retry(chain: Chain) -> None:
    refusal = json.dumps({"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA900]}}]}}).encode()
    chain.to_pacs.faults = [Fault("POST", "/studies/", answer=(409, refusal))]
    uid = chain.send(series(SLICES))
    chain.wait(lambda: chain.statuses() == ["dead"])
    printed = command(chain, "dead-letters")
    assert printed.splitlines()[1].split("\t")[1:3] == ["rejected", uid]
    chain.to_pacs.faults = []
    assert command(chain, "retry", uid) == "queued again: 1\n"
    chain.wait(chain.has_results)
    assert command(chain, "dead-letters").splitlines()[1:] == []


def command(chain: Chain, *arguments: str) -> str:
    """Run a command of the gateway, and return what it prints."""
    environment = os.environ | {name: str(value) for name, value in chain.environment.items()}
    call = [sys.executable, "-m", "serving.dicomweb", *arguments]
    return subprocess.run(call, env=environment, check=True, capture_output=True, text=True).stdout


def test_sigterm_ends_it_at_once_and_cleanly(chain: Chain) -> None:
    chain.to_pacs.faults = [Fault("GET", "/instances/", seconds=0.5)]
    chain.send(series(SLICES))
    chain.wait(lambda: chain.to_pacs.faults[0].count > 3)
    assert chain.gateway
    chain.gateway.process.terminate()
    assert chain.gateway.process.wait(5) == 0
    chain.to_pacs.faults = []
    chain.start()
    chain.wait(chain.has_results)


def test_the_output_has_no_patient_data(chain: Chain) -> None:
    uid = chain.send(series(SLICES))
    chain.send(series(SLICES, PatientName="Zyxmann^Quirina")[:25])
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    chain.send(series(SLICES, **uids)[1:] + series(1, **uids, Rows=64))  # twice as many as there are
    chain.wait(lambda: sorted(chain.statuses()) == ["dead", "done", "done"])
    assert chain.gateway
    metrics = requests.get(f"http://127.0.0.1:{chain.metrics_port}/metrics", timeout=10).text
    written = chain.gateway.output.read_text() + metrics
    assert '"message": "results stored"' in written
    instances = [uid for uids in chain.orthanc.instances().values() for uid in uids]
    planted = [PRIVATE_PHI, *(part for value in PHI.values() for part in value.split("^"))]
    assert [secret for secret in (uid, *uids.values(), *instances, *planted) if secret in written] == []
