"""Prometheus metrics and probes of the gateway. No label has a UID."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.dicomweb.errors import CODES, STEPS

OUTCOMES = ("done", "dead")
SECONDS = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
STALLED_SECONDS = 15 * 60.0  # longer than any one request takes


class Metrics:
    """The gateway's metrics, and the time of its last sign of life. Every counter exists at 0 before its first event."""

    def __init__(self, registry: CollectorRegistry = REGISTRY):
        def gauge(name: str, help_text: str) -> Gauge:
            return Gauge(f"brain_tumor_dicomweb_{name}", help_text, registry=registry)

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"brain_tumor_dicomweb_{name}", help_text, labels, registry=registry)

        self.registry = registry
        self.series = counter("series", "Series by outcome.", "outcome")
        self.failures = counter("failures", "Failed attempts by step and code.", "step", "code")
        self.queue_series = gauge("queue_series", "Complete series whose results are not stored yet.")
        self.queue_oldest_seconds = gauge("queue_oldest_seconds", "Time in seconds for which the oldest of them waits.")
        self.dead_letters = gauge("dead_letters", "Series that failed for good.")
        self.pacs_available = gauge("pacs_available", "Whether the last query of the PACS succeeded: 1 or 0.")
        help_text = "Time in seconds from a complete series to its stored results."
        self.series_seconds = Histogram("brain_tumor_dicomweb_series_seconds", help_text, buckets=SECONDS, registry=registry)
        for outcome in OUTCOMES:
            self.series.labels(outcome)
        for step in STEPS:
            for code in CODES:
                self.failures.labels(step, code)
        self.is_pacs_available = False
        self._last_sign = time.monotonic()

    def show_sign_of_life(self) -> None:
        """Note that the gateway is working."""
        self._last_sign = time.monotonic()

    @property
    def is_alive(self) -> bool:
        return time.monotonic() - self._last_sign < STALLED_SECONDS

    def note_pacs(self, is_available: bool) -> None:
        """Note whether a query succeeded."""
        self.is_pacs_available = is_available
        self.pacs_available.set(is_available)


def serve_metrics(metrics: Metrics, port: int) -> ThreadingHTTPServer:
    """Serve /metrics, /healthz and /readyz in a thread.

    Raises:
        OSError: The port is not free.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._send(200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry))
            elif self.path == "/healthz":
                self._report(metrics.is_alive, "alive", "the gateway has done nothing for a long time")
            elif self.path == "/readyz":
                self._report(metrics.is_pacs_available, "ready", "the PACS does not answer queries")
            else:
                self._report(False, "", "no such path", status=404)

        def _report(self, is_good: bool, good: str, message: str, status: int = 503) -> None:
            document = {"status": good} if is_good else {"error": message, "code": "not_found" if status == 404 else "not_ready"}
            self._send(200 if is_good else status, "application/json", json.dumps(document).encode())

        def _send(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log no request."""

    server = ThreadingHTTPServer(("", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
