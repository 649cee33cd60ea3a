"""A small DICOMweb server of the tests' own, in place of a PACS: QIDO-RS, WADO-RS and STOW-RS on files in memory."""

import io
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import pydicom


class Stored(NamedTuple):
    """An instance and its file, which need not be readable."""

    study: str
    series: str
    uid: str
    modality: str
    frames: int
    date: str
    file: bytes


@dataclass
class FakePacs:
    """A store of instances.

    Attributes:
        url: Root URL.
        instances: By instance UID.
        page: Number of entries that it returns at most, whatever the limit, so that clients have to ask for pages.
        fault: Status and body in place of each response to a method and to paths that contain a text; None for no fault.
        requests: Method and path with query of every request.
        authorizations: The header Authorization of each.
    """

    url: str
    instances: dict[str, Stored] = field(default_factory=dict)
    page: int = 2
    fault: tuple[str, str, int, bytes] | None = None
    requests: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)

    def add(self, *files: bytes) -> str:
        """Store files as a modality would; return the UID of the last one's series."""
        for file in files:
            header = pydicom.dcmread(io.BytesIO(file))
            uids = (str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(header.SOPInstanceUID))
            frames = int(header.get("NumberOfFrames") or 1)
            stored = Stored(*uids, header.Modality, frames, header.get("StudyDate", ""), file)
            self.instances[stored.uid] = stored
        return uids[1]

    def results(self) -> list[pydicom.Dataset]:
        """Return the instances with UIDs that results have."""
        return [pydicom.dcmread(io.BytesIO(each.file)) for each in self.instances.values() if each.uid.startswith("2.25.")]


@contextmanager
def serving_fake_pacs(certificate: Path | None = None) -> Iterator[FakePacs]:
    """Serve in threads of this process, over TLS with the certificate and key of a PEM file if given."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self._is_faulty():
                return
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            match [unquote(part) for part in parts.path.strip("/").split("/")]:
                case ["series"]:
                    self._send_page(_series_entries(pacs, query), query)
                case ["studies", study, "series", series, "instances"]:
                    self._send_page(_instance_entries(pacs, study, series), query)
                case ["studies", _, "series", _, "instances", uid] if uid in pacs.instances:
                    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + pacs.instances[uid].file + b"\r\n--b--"
                    self._send(200, body, 'multipart/related; type="application/dicom"; boundary="b"')
                case _:
                    self._send(404, b"{}")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self._is_faulty():
                return
            boundary = self.headers.get_boundary()
            assert boundary
            pacs.add(body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--" + boundary.encode(), 1)[0])
            self._send(200, b'{"00081199": {"vr": "SQ", "Value": [{}]}}')

        def _is_faulty(self) -> bool:
            pacs.requests.append(f"{self.command} {self.path}")
            pacs.authorizations.append(self.headers["Authorization"])
            match pacs.fault:
                case (method, text, status, body) if method == self.command and text in self.path:
                    self._send(status, body)
                    return True
            return False

        def _send_page(self, entries: list[dict[str, Any]], query: dict[str, str]) -> None:
            offset = int(query["offset"])
            self._send(200, json.dumps(entries[offset : offset + pacs.page]).encode())

        def _send(self, status: int, body: bytes, content_type: str = "application/dicom+json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    pacs = FakePacs(f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield pacs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _series_entries(pacs: FakePacs, query: dict[str, str]) -> list[dict[str, Any]]:
    first = query.get("StudyDate", "-").rstrip("-")
    counts: dict[tuple[str, str], int] = {}
    for each in list(pacs.instances.values()):
        if each.modality == query["Modality"] and each.date >= first:
            counts[each.study, each.series] = counts.get((each.study, each.series), 0) + 1
    return [
        _json({"0020000D": study, "0020000E": series, "00201209": count}) for (study, series), count in sorted(counts.items())
    ]


def _instance_entries(pacs: FakePacs, study: str, series: str) -> list[dict[str, Any]]:
    found = sorted(each for each in list(pacs.instances.values()) if (each.study, each.series) == (study, series))
    return [_json({"00080018": each.uid, "00280008": each.frames}) for each in found]


def _json(values: dict[str, str | int]) -> dict[str, Any]:
    return {tag: {"vr": "UI" if isinstance(value, str) else "IS", "Value": [value]} for tag, value in values.items()}
