"""A reverse proxy that, at the n-th request of a kind, kills a process, waits, or answers in place of the server."""

import http.client
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Fault:
    """What happens to requests of a method to paths that a regular expression matches.

    Attributes:
        method: HTTP method.
        path: Regular expression on path and query.
        nth: Number of the one request that is meant, from 1; 0 for all of them.
        seconds: Delay before the request is passed on.
        answer: Status and body in place of the server's.
        before: Called before the request is passed on.
        after: Called after the server has answered, before the answer is passed on.
    """

    method: str
    path: str
    nth: int = 0
    seconds: float = 0.0
    answer: tuple[int, bytes] | None = None
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None
    count: int = 0

    def meets(self, method: str, path: str) -> bool:
        """Count a request of the kind, and check whether it is meant."""
        if method != self.method or not re.search(self.path, path):
            return False
        self.count += 1
        return self.nth in (0, self.count)


@dataclass
class FaultProxy:
    """The proxy at `url`, whose faults can be changed at any time."""

    url: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Serve in threads of this process, in front of a server's root URL."""
    target = urlsplit(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            proxy.requests.append(f"{self.command} {self.path}")
            body = b"".join(request_body(self))
            fault = next((each for each in list(proxy.faults) if each.meets(self.command, self.path)), None) or Fault("", "")
            time.sleep(fault.seconds)
            if fault.before:
                fault.before()
            try:
                status, headers, content = (*fault.answer[:1], {}, fault.answer[1]) if fault.answer else self._pass_on(body)
            except OSError:
                self.close_connection = True  # as if the server's port were closed
                return
            if fault.after:
                fault.after()
            self._answer(status, headers, content)

        do_POST = do_GET

        def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            assert target.hostname
            connection = http.client.HTTPConnection(target.hostname, target.port, timeout=120)
            names = ("Accept", "Authorization", "Content-Type")
            headers = {name: value for name in names if (value := self.headers[name])}
            try:
                connection.request(self.command, target.path + self.path, body or None, headers)
                response = connection.getresponse()
                return response.status, {"Content-Type": response.headers.get("Content-Type", "")}, response.read()
            finally:
                connection.close()

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                self.close_connection = True  # the client was killed

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = FaultProxy(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def request_body(handler: BaseHTTPRequestHandler) -> Iterator[bytes]:
    """Generate the body of a request, whether it has a length or comes in chunks."""
    if "chunked" not in handler.headers.get("Transfer-Encoding", ""):
        yield handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        return
    while size := int(handler.rfile.readline() or b"0", 16):
        yield handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
