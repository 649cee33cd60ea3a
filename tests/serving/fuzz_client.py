"""A client that sends arbitrary bytes, checks every response, and counts the outcomes."""

import contextlib
import json
import os
import socket
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from serving.errors import CODES
from tests.brain_tumor.test_images import GREY, encode
from tests.serving.conftest import Pair

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "800"))
MARKER = "Mustermann-Erika-19640812"  # client data that no log may contain
PLANTED = (MARKER, b64encode(MARKER.encode()).decode())
GOOD = encode(GREY, "PNG")
JSON = ("Content-Type", "application/json")
PREDICT, INFER = "/v1/models/brain-tumor:predict", "/v2/models/brain-tumor/infer"
SECONDS = 20.0  # time limit of every response
MAX_PEAK_MB = 700
NEVER = {"internal", "predictor_failed", "not_ready", "too_slow"}
Header = tuple[str | bytes, str | bytes]


class Case(NamedTuple):
    """A request and the allowed error codes of its response; "" is a response without an error."""

    name: str
    codes: set[str]
    path: str
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    method: str = "POST"


class Response(NamedTuple):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code; empty without an error."""
        return "" if self.status == 200 else str(self.json["code"])


class Fuzzer:
    """Sends requests to one service, each over its own connection."""

    def __init__(self, service: Pair):
        self.service = service
        self.channel = grpc.insecure_channel(service.grpc, [("grpc.max_send_message_length", -1)])
        self.counts: Counter[str] = Counter()
        self.started = time.monotonic()
        self.peak_mb = 0.0
        self._lock = threading.Lock()
        self._log = service.transformer.output.open()
        self._expected = self.predict(GOOD).json
        self._reset_peak()

    def close(self) -> None:
        self._log.close()
        self.channel.close()

    def count(self, outcome: object) -> None:
        with self._lock:
            self.counts[str(outcome)] += 1

    def send(self, chunks: Iterable[bytes], *, seconds: float = SECONDS) -> Response | None:
        """Send chunks without any framing and return the response; None if the service closes the connection without one."""
        with self.connected(seconds) as connection:
            sender = threading.Thread(target=_send_all, args=(connection, chunks))
            sender.start()
            try:
                response = _receive(connection)
            finally:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                sender.join()
        self.count(response.status if response else "disconnected")
        return response

    def connected(self, seconds: float = SECONDS) -> socket.socket:
        host, port = self.service.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), seconds)

    def request(self, path: str, body: bytes = b"", headers: Iterable[Header] = (), *, method: str = "POST") -> Response:
        """Send one request and check its response."""
        fields: list[Header] = [("Host", "fuzz"), ("Content-Length", str(len(body))), *headers]
        response = self.send([head(method, path, fields), body])
        assert response is not None, "disconnected"
        assert response.headers["x-request-id"]
        return checked(response)

    def predict(self, image: bytes, *, explain: bool = False) -> Response:
        """Send one image to /predict in a valid request."""
        body, content_type = form([part(image)])
        return self.request(f"/predict?explain={str(explain).lower()}", body, [content_type])

    def call(self, method: str, request: Any, *, seconds: float = SECONDS) -> str:
        """Send a message, or raw bytes, over gRPC; check that the status is OK or a client error, and return it."""
        serializer = None if isinstance(request, bytes) else type(request).SerializeToString
        try:
            self.channel.unary_unary(f"/inference.GRPCInferenceService/{method}", serializer)(request, timeout=seconds)
            status = "OK"
        except grpc.RpcError as error:
            status = error.code().name
        self.count(status)
        assert status in {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED"}
        return status

    def _reset_peak(self) -> None:  # of VmHWM
        Path(f"/proc/{self.service.transformer.process.pid}/clear_refs").write_text("5")

    def check_survival(self) -> None:
        """Check that the process runs, predicts correctly, stayed below its memory limit, and logged no client data."""
        ended = self.service.transformer.process.poll()
        assert ended is None, f"ended with status {ended}"
        response = self.predict(GOOD)
        while response.code == "too_busy":  # with requests of disconnected clients
            time.sleep(0.5)
            response = self.predict(GOOD)
        assert response.json["label"] == self._expected["label"]
        assert abs(response.json["confidence"] - self._expected["confidence"]) < 1e-3
        status = Path(f"/proc/{self.service.transformer.process.pid}/status").read_text()
        peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
        self.peak_mb = max(self.peak_mb, peak_mb)
        self._reset_peak()
        assert peak_mb < MAX_PEAK_MB, f"{peak_mb:.0f} MB"
        for line in self._log:
            assert not any(text in line for text in PLANTED)
            assert line.startswith("{"), line
            assert json.loads(line)["message"]


def checked(response: Response) -> Response:
    """Check that a response is a result, or a client error with the common error body."""
    if response.status != 200:
        document = response.json
        assert set(document) == {"error", "code"}, document
        assert isinstance(document["error"], str)
        assert document["code"] not in NEVER, document
        assert response.status == CODES[document["code"]][0], document
        assert response.headers["content-type"] == "application/json"
        assert ("allow" in response.headers) == (response.status == 405)
    return response


def head(method: str, path: str, headers: Iterable[Header]) -> bytes:
    """Return request line and headers, without any validation."""
    lines = [f"{method} {path} HTTP/1.1".encode("latin-1"), *(_bytes(name) + b": " + _bytes(value) for name, value in headers)]
    return b"\r\n".join([*lines, b"", b""])


def part(data: bytes, disposition: str = f'form-data; name="file"; filename="{MARKER}.png"', headers: str = "") -> bytes:
    """Return one part of a form."""
    return f"Content-Disposition: {disposition}\r\n{headers}\r\n".encode() + data


def form(parts: Iterable[bytes], boundary: str = "b0undary") -> tuple[bytes, Header]:
    """Return a form of parts and its header."""
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), each) for each in parts) + f"--{boundary}--\r\n".encode()
    return body, ("Content-Type", f"multipart/form-data; boundary={boundary}")


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def _send_all(connection: socket.socket, chunks: Iterable[bytes]) -> None:
    with contextlib.suppress(OSError):  # the service may respond and close the connection early
        for chunk in chunks:
            connection.sendall(chunk)


def _receive(connection: socket.socket) -> Response | None:
    response = HTTPResponse(connection)
    try:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, headers, response.read())
    except (HTTPException, ConnectionError):
        return None
