"""A client that sends any bytes, demands a right answer to all of them, and keeps count."""

import contextlib
import json
import os
import socket
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from serving.errors import CODES
from tests.serving.conftest import Pair
from tests.serving.test_images import GREY, encode

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "800"))
MARKER = "Mustermann-Erika-19640812"  # stands for what a client sends and no log may hold
PLANTED = (MARKER, b64encode(MARKER.encode()).decode())
GOOD = encode(GREY, "PNG")
JSON = ("Content-Type", "application/json")
SECONDS = 20.0  # within which everything must be answered
MAX_PEAK_MB = 700
NEVER = {"internal", "predictor_failed", "not_ready", "too_slow"}
Header = tuple[str | bytes, str | bytes]


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
        self._lock = threading.Lock()
        # From here on VmHWM is the peak of what this fuzzing takes.
        Path(f"/proc/{service.transformer.process.pid}/clear_refs").write_text("5")

    def count(self, outcome: object) -> None:
        with self._lock:
            self.counts[str(outcome)] += 1

    def send(self, pieces: Iterable[bytes], *, method: str = "POST", seconds: float = SECONDS) -> Answer | None:
        """Send pieces as they are and return the answer; None where the service hangs up without one."""
        with self.connected(seconds) as connection:
            sender = threading.Thread(target=_send_all, args=(connection, pieces))
            sender.start()
            try:
                answer = _receive(connection, method)
            finally:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                sender.join()
        self.count(answer.status if answer else "hung up")
        return answer

    @contextlib.contextmanager
    def connected(self, seconds: float = SECONDS) -> Iterator[socket.socket]:
        host, port = self.service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), seconds) as connection:
            yield connection

    def request(
        self, path: str, body: bytes = b"", headers: Iterable[Header] = (), *, method: str = "POST", length: int | None = None
    ) -> Answer:
        """Send one request, with the body's true length unless another is given, and check its answer."""
        fields: list[Header] = [("Host", "fuzz"), ("Content-Length", str(len(body) if length is None else length)), *headers]
        answer = self.send([head(method, path, fields), body], method=method)
        assert answer is not None, "hung up"
        return checked(answer)

    def predict(self, picture: bytes, *, explain: bool = False) -> Answer:
        """Send one picture to /predict, as it should be sent."""
        body, content_type = form([part(picture)])
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

    @property
    def peak_mb(self) -> float:
        """The most memory that the transformer has held."""
        status = Path(f"/proc/{self.service.transformer.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def check_survival(self) -> None:
        """Demand that the process lives, is right, takes bounded memory, and logged nothing that was sent."""
        assert self.service.transformer.process.poll() is None
        answer = self.predict(GOOD)
        assert (answer.status, set(answer.json)) == (200, {"label", "probability", "threshold", "confidence", "model", "warnings"})
        assert self.peak_mb < MAX_PEAK_MB
        log = self.service.transformer.output.read_text()
        assert not any(text in log for text in PLANTED)
        for line in log.splitlines():
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
    assert answer.headers["x-request-id"]
    return answer


def head(method: str, path: str, headers: Iterable[Header]) -> bytes:
    """Return a request's head, with header names and values as they are given."""
    lines = [f"{method} {path} HTTP/1.1".encode("latin-1"), *(_bytes(name) + b": " + _bytes(value) for name, value in headers)]
    return b"\r\n".join([*lines, b"", b""])


def chunked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Frame pieces as the transfer encoding of that name has it."""
    for piece in pieces:
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


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


def _receive(connection: socket.socket, method: str) -> Answer | None:
    response = HTTPResponse(connection, method=method)
    try:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    except (HTTPException, ConnectionError):
        return None
