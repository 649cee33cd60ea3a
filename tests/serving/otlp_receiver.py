"""A receiver of traces by OTLP over HTTP, as an OpenTelemetry collector is one."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class OtlpReceiver:
    """What was received.

    Attributes:
        url: value of OTEL_EXPORTER_OTLP_ENDPOINT.
        status: HTTP status of the answers.
        bodies: each message as bytes.
        spans: the spans of all messages.
        resources: the attributes of each message's resource.
    """

    url: str
    status: int = 200
    bodies: list[bytes] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)

    def wait(self, count: int, *, seconds: float = 20) -> dict[str, list[Span]]:
        """Wait for a number of spans and return them by name."""
        deadline = time.monotonic() + seconds
        while len(self.spans) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        by_name: dict[str, list[Span]] = {}
        for span in self.spans:
            by_name.setdefault(span.name, []).append(span)
        assert len(self.spans) == count, f"got {sorted(span.name for span in self.spans)}, expected {count} spans"
        return by_name


@contextmanager
def running_otlp_receiver() -> Iterator[OtlpReceiver]:
    """Serve a receiver on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
            if receiver.status == 200:
                message = ExportTraceServiceRequest.FromString(body)
                receiver.bodies.append(body)
                for traced in message.resource_spans:
                    attributes = traced.resource.attributes
                    receiver.resources.append({each.key: each.value.string_value for each in attributes})
                    receiver.spans.extend(span for scope in traced.scope_spans for span in scope.spans)
            self.send_response(receiver.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = OtlpReceiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
