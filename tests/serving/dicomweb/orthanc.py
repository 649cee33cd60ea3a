"""A real PACS: Orthanc with its DICOMweb plug-in, which receives over DICOM what DCMTK's storescu sends.

`python -m tests.serving.dicomweb.orthanc` installs it.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.serving.processes import free_ports
from tests.tools import install_debian, tool

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PROGRAM = Path("/usr/sbin/Orthanc")
MODALITIES = ("MR", "SR", "OT")


@dataclass
class Orthanc:
    """An Orthanc whose database is in `folder`; it can be stopped and started again.

    Attributes:
        folder: Its database, configuration and log.
        http: Port of HTTP.
        dicom: Port of DICOM.
        settings: Additional configuration.
    """

    folder: Path
    http: int
    dicom: int
    settings: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Root URL of its DICOMweb."""
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        configuration = self.folder / "orthanc.json"
        configuration.write_text(
            json.dumps(
                {
                    "StorageDirectory": str(self.folder),
                    "IndexDirectory": str(self.folder),
                    "HttpPort": self.http,
                    "DicomPort": self.dicom,
                    "DicomAlwaysAllowStore": True,
                    "AuthenticationEnabled": False,
                    "Plugins": [str(PLUGIN)],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                    **self.settings,
                }
            )
        )
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen([PROGRAM, configuration], stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "orthanc.log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it."""
        if self.process:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def send(self, folder: Path) -> None:
        """Send the files of a folder over DICOM, as a modality does."""
        command = [tool("storescu"), "127.0.0.1", str(self.dicom), "+sd", str(folder)]
        subprocess.run(command, check=True, capture_output=True)

    def instances(self) -> dict[str, list[str]]:
        """Return modality -> the UIDs of all instances."""
        return {modality: self._uids(modality) for modality in MODALITIES}

    def file(self, uid: str) -> bytes:
        """Return the file of an instance."""
        (found,) = requests.post(f"http://127.0.0.1:{self.http}/tools/lookup", data=uid, timeout=60).json()
        return requests.get(f"http://127.0.0.1:{self.http}{found['Path']}/file", timeout=60).content

    def _uids(self, modality: str) -> list[str]:
        query: dict[str, str | int] = {"Modality": modality, "limit": 100_000}
        entries = requests.get(f"{self.url}/instances", params=query, timeout=60).json()
        return sorted(entry["00080018"]["Value"][0] for entry in entries)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/series", params={"limit": 1}, timeout=5).ok
        except requests.ConnectionError:
            return False


@contextmanager
def running_orthanc(folder: Path, **settings: Any) -> Iterator[Orthanc]:
    """Run an Orthanc with an empty database below a folder."""
    if not PLUGIN.exists():
        pytest.skip("needs Orthanc and its DICOMweb plug-in: run `make test-pacs`")
    folder.mkdir()
    http, dicom = free_ports(2)
    orthanc = Orthanc(folder, http, dicom, settings)
    try:
        orthanc.start()
        yield orthanc
    finally:
        orthanc.stop()


if __name__ == "__main__" and not PLUGIN.exists():
    install_debian(["orthanc", "orthanc-dicomweb"])
