"""A client that sends any bytes, demands a right answer to all of them, and keeps count."""

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
MARKER = "Mustermann-Erika-19640812"  # stands for what a client sends and no log may hold
PLANTED = (MARKER, b64encode(MARKER.encode()).decode())
GOOD = encode(GREY, "PNG")
JSON = ("Content-Type", "application/json")
PREDICT, INFER = "/v1/models/brain-tumor:predict", "/v2/models/brain-tumor/infer"
SECONDS = 20.0  # within which everything must be answered
MAX_PEAK_MB = 700
NEVER = {"internal", "predictor_failed", "not_ready", "too_slow"}
Header = tuple[str | bytes, str | bytes]


class Case(NamedTuple):
    """A request and the codes of which its answer has one; "" stands for an answer without error."""

    name: str
    codes: set[str]
    path: str
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    method: str = "POST"


class Answer(NamedTuple):
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code; empty for an answer without error."""
        return "" if self.status == 200 else str(self.json["code"])


class Fuzzer:
    """Sends requests to one service, one connection each."""

    def __init__(self, service: Pair):
        self.service = service
        self.channel = grpc.insecure_channel(service.grpc, [("grpc.max_send_message_length", -1)])
        self.counts: Counter[str] = Counter()
        self.started = time.monotonic()
        self.peak_mb = 0.0
        self._lock = threading.Lock()
        self._log = service.transformer.output.open()
        self._right = self.predict(GOOD).json
        self._forget_peak()

    def close(self) -> None:
        self._log.close()
        self.channel.close()

    def count(self, outcome: object) -> None:
        with self._lock:
            self.counts[str(outcome)] += 1

    def send(self, pieces: Iterable[bytes], *, seconds: float = SECONDS) -> Answer | None:
        """Send pieces as they are and return the answer; None where the service hangs up without one."""
        with self.connected(seconds) as connection:
            sender = threading.Thread(target=_send_all, args=(connection, pieces))
            sender.start()
            try:
                answer = _receive(connection)
            finally:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                sender.join()
        self.count(answer.status if answer else "hung up")
        return answer

    def connected(self, seconds: float = SECONDS) -> socket.socket:
        host, port = self.service.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), seconds)

    def request(self, path: str, body: bytes = b"", headers: Iterable[Header] = (), *, method: str = "POST") -> Answer:
        """Send one request and check its answer."""
        fields: list[Header] = [("Host", "fuzz"), ("Content-Length", str(len(body))), *headers]
        answer = self.send([head(method, path, fields), body])
        assert answer is not None, "hung up"
        assert answer.headers["x-request-id"]
        return checked(answer)

    def predict(self, image: bytes, *, explain: bool = False) -> Answer:
        """Send one image to /predict, as it should be sent."""
        body, content_type = form([part(image)])
        return self.request(f"/predict?explain={str(explain).lower()}", body, [content_type])

    def call(self, method: str, request: Any, *, seconds: float = SECONDS) -> str:
        """Send a message, or bytes in its place, over gRPC; return the status and check that it is one of the client's fault."""
        serializer = None if isinstance(request, bytes) else type(request).SerializeToString
        try:
            self.channel.unary_unary(f"/inference.GRPCInferenceService/{method}", serializer)(request, timeout=seconds)
            status = "OK"
        except grpc.RpcError as error:
            status = error.code().name
        self.count(status)
        assert status in {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED"}
        return status

    def _forget_peak(self) -> None:  # VmHWM begins anew
        Path(f"/proc/{self.service.transformer.process.pid}/clear_refs").write_text("5")

    def check_survival(self) -> None:
        """Demand that the process lives, is right, took bounded memory since the last check, and logged nothing that was sent."""
        ended = self.service.transformer.process.poll()
        assert ended is None, f"ended with status {ended}"
        answer = self.predict(GOOD)
        while answer.code == "too_busy":  # with requests whose client has left
            time.sleep(0.5)
            answer = self.predict(GOOD)
        assert answer.json["label"] == self._right["label"]
        assert abs(answer.json["confidence"] - self._right["confidence"]) < 1e-3
        status = Path(f"/proc/{self.service.transformer.process.pid}/status").read_text()
        peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
        self.peak_mb = max(self.peak_mb, peak_mb)
        self._forget_peak()
        assert peak_mb < MAX_PEAK_MB, f"{peak_mb:.0f} MB"
        for line in self._log:
            assert not any(text in line for text in PLANTED)
            assert line.startswith("{"), line
            assert json.loads(line)["message"]


def checked(answer: Answer) -> Answer:
    """Demand a result, or an error of the client's in the one form that errors have."""
    if answer.status != 200:
        document = answer.json
        assert set(document) == {"error", "code"}, document
        assert isinstance(document["error"], str)
        assert document["code"] not in NEVER, document
        assert answer.status == CODES[document["code"]][0], document
        assert answer.headers["content-type"] == "application/json"
        assert ("allow" in answer.headers) == (answer.status == 405)
    return answer


def head(method: str, path: str, headers: Iterable[Header]) -> bytes:
    """Return a request's head, with header names and values as they are given."""
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


def _send_all(connection: socket.socket, pieces: Iterable[bytes]) -> None:
    with contextlib.suppress(OSError):  # the service may answer, and hang up, before it has read everything
        for piece in pieces:
            connection.sendall(piece)


def _receive(connection: socket.socket) -> Answer | None:
    response = HTTPResponse(connection)
    try:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    except (HTTPException, ConnectionError):
        return None
