"""A PACS on this machine: Debian's Orthanc with a phantom series, and the gateway that brings the service's results into it."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from brain_tumor.errors import InputError
from brain_tumor.phantom_series import DESCRIPTION, phantom_series, store
from pipelines.local.ports import Ports
from pipelines.local.processes import Processes, open_local, process_group, wait_until_ready

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
STOP_TIMEOUT_SECONDS = 20
RULES = [{"description": DESCRIPTION, "orientation": "axial", "least_slices": 20, "backlog": True}]
# Shorter than the gateway's defaults: nothing else arrives.
WAITS = {"POLL_SECONDS": "2", "STABLE_SECONDS": "5"}


def check_pacs(ports: Ports) -> None:
    """Check that Orthanc is installed and that its ports are free, before anything is started.

    Raises:
        InputError: It is not installed, or a port is in use.
    """
    _find_orthanc()
    for name, port in (("PACS_PORT", ports.pacs_port), ("GATEWAY_PORT", ports.gateway_port)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise InputError(f"{name}: got {port}, expected a free port: {error.strerror}") from None


@contextlib.contextmanager
def pacs(folder: Path, api_url: str, ports: Ports) -> Iterator[Processes]:
    """Start Orthanc, store the phantom series in it, start the gateway, print where to look, and stop both at the end.

    Args:
        folder: Folder of Orthanc's storage and of the gateway's state. What was stored before is still there.
        api_url: URL of the transformer.
        ports: Ports of Orthanc, which answers this machine alone, and of the gateway's metrics.

    Yields:
        The processes by name.

    Raises:
        InputError: Orthanc is not installed, or does not store the series.
        RuntimeError: A process ended or was not ready in time.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "orthanc.log").open("wb"))
        command = [_find_orthanc(), str(_write_configuration(folder, ports.pacs_port))]
        output = {"stdout": log, "stderr": subprocess.STDOUT}
        processes = {"Orthanc": stack.enter_context(process_group(command, stop_seconds=STOP_TIMEOUT_SECONDS, **output))}
        url = f"http://localhost:{ports.pacs_port}"
        print(f"pacs: waiting for Orthanc, log in {folder / 'orthanc.log'}", flush=True)
        wait_until_ready(f"{url}/system", processes)
        series = phantom_series()
        store(f"{url}/dicom-web", series)
        environment = _gateway_environment(folder, url, api_url, ports)
        command = [sys.executable, "-m", "serving.dicomweb"]
        processes["the gateway"] = stack.enter_context(process_group(command, stop_seconds=STOP_TIMEOUT_SECONDS, env=environment))
        wait_until_ready(f"http://localhost:{ports.gateway_port}/readyz", processes)
        _print_addresses(url, series[0].StudyInstanceUID, ports)
        yield processes


def _find_orthanc() -> str:
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
    if program is None or not PLUGIN.exists():
        missing = "no program `Orthanc`" if program is None else f"no DICOMweb plug-in {PLUGIN}"
        raise InputError(f"{missing}; install it as root on Debian: `apt-get install orthanc-dicomweb`")
    return program


def _write_configuration(folder: Path, port: int) -> Path:
    """Write Orthanc's configuration: 401 for other machines, and DICOMweb in place of the DICOM protocol."""
    path = folder / "orthanc.json"
    configuration = {
        "Name": "brain-tumor phantom",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "DicomServerEnabled": False,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    path.write_text(json.dumps(configuration, indent=2))
    return path


def _gateway_environment(folder: Path, url: str, api_url: str, ports: Ports) -> dict[str, str]:
    """Return the gateway's environment. Its state is new: it looks at the series again, and finds what is already stored."""
    for path in folder.glob("state.sqlite*"):
        path.unlink()
    (folder / "rules.yaml").write_text(json.dumps(RULES, indent=2))  # JSON is YAML
    settings = {
        "DICOMWEB_URL": f"{url}/dicom-web",
        "API_URL": api_url,
        "RULES": str(folder / "rules.yaml"),
        "STATE": str(folder / "state.sqlite"),
        "METRICS_PORT": str(ports.gateway_port),
    }
    return WAITS | os.environ | settings


def _print_addresses(url: str, study_uid: str, ports: Ports) -> None:
    with open_local(f"{url}/tools/lookup", study_uid.encode(), timeout=10) as response:
        (study,) = json.load(response)
    print(f"pacs: Orthanc at {url}/app/explorer.html, for this machine alone")
    print(f"pacs: the phantom's study, with results within a minute: {url}/app/explorer.html#study?uuid={study['ID']}")
    print(f"pacs: its series: curl -s {url}/studies/{study['ID']}/series | grep -E '\"(Modality|SeriesDescription)\"'")
    print(f"pacs: metrics of the gateway at http://localhost:{ports.gateway_port}/metrics", flush=True)
