"""The transformer in a pod that was created before the first deploy: alive and never ready. The deploy step replaces the pod."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MESSAGE = "no model is deployed yet"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        alive = self.path == "/healthz"
        body = json.dumps({"status": "alive"} if alive else {"error": MESSAGE, "code": "not_ready"}).encode()
        self.send_response(200 if alive else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Log no request: it may name a patient's image."""


def serve_no_model(port: int) -> None:
    """Answer /healthz with 200 and every other path with 503, until SIGTERM or SIGINT."""
    print(f"{MESSAGE}: waiting on port {port}; the first deploy replaces this pod", flush=True)
    ThreadingHTTPServer(("", port), _Handler).serve_forever()
