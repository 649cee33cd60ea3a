"""A fake service: it records requests and returns a configured response."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

from brain_tumor.model_card import NOTICE

PREDICTION: dict[str, Any] = {
    "label": "tumor",
    "probability": 0.1 + 0.2,
    "threshold": 0.5,
    "confidence": 0.30000000000000004,
    "model": {"name": "brain-tumor", "version": "7"},
    "warnings": ["a"],
    "heatmap": {"shape": [1, 2], "values": [0.0, 1.0], "label": "tumor"},
    "overlay_png": "",
}


def series_answer(probabilities: Sequence[float], highest: int = 3) -> dict[str, Any]:
    """Return the answer for a series whose last file is its first slice, 2.5 mm apart, with a threshold of 0.5."""
    count = len(probabilities)
    labels = ["tumor" if probability >= 0.5 else "no_tumor" for probability in probabilities]
    runs = [list(run) for label, run in groupby(range(count), labels.__getitem__) if label == "tumor"]
    longest = max(runs, key=len, default=[])
    ranking = sorted(range(count), key=lambda index: -probabilities[index])
    slices = [
        {
            "file": count - 1 - index,
            "frame": None,
            "position_mm": 2.5 * index,
            "instance_number": index + 1,
            "label": label,
            "probability": probability,
            "confidence": max(probability, 1 - probability),
            "in_distribution": 0.9,
            "uncertain": 0.4 < probability < 0.6,
            "warning_codes": ["synthetic_model"] + ["uncertain"] * (0.4 < probability < 0.6),
        }
        for index, (label, probability) in enumerate(zip(labels, probabilities, strict=True))
    ]
    heatmap = {"shape": [2, 2], "values": [0.0, 1.0, 0.0, 0.25], "label": "tumor"}
    return {
        "model": {"name": "brain-tumor", "version": "7"},
        "threshold": 0.5,
        "explanation": "evidence",
        "notice": NOTICE,
        "order": "position",
        "slices": slices,
        "highest": [{"slice": index, "heatmap": heatmap, "overlay_png": ""} for index in ranking[:highest]],
        "summary": {
            "slices": count,
            "reaching_threshold": labels.count("tumor"),
            "longest_run": len(longest),
            "longest_run_first": longest[0] if longest else None,
            "peak": {"slice": ranking[0], "probability": probabilities[ranking[0]], "position_mm": 2.5 * ranking[0]},
        },
        "warnings": ["the model was trained on synthetic phantoms", "the model cannot tell the classes apart"],
        "warning_codes": ["synthetic_model", "uncertain"],
    }


@dataclass
class FakeService:
    """The response to return, unless the path has its own, and the requests received: path, headers in lower case, body."""

    url: str
    status: int = 200
    body: bytes = json.dumps(PREDICTION).encode()
    responses: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def serve_fake() -> Iterator[FakeService]:
    """Serve in a thread of this process."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fake.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status, content = fake.responses.get(urlsplit(self.path).path, (fake.status, fake.body))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake = FakeService(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield fake
        server.shutdown()
        thread.join()
