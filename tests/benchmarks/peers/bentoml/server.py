"""BentoML, as its documentation advises for a model on CPU cores.

- `workers` is the number of cores (https://docs.bentoml.com/en/latest/build-with-bentoml/parallelize-requests.html).
- Adaptive batching with batches of up to 8 images; each request is a list of one
  (https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html). The request is JSON with the image in base64.
- `bentoml serve` as in production. Usage data, metrics and access log are off; it has no gzip.
"""

import base64
import os
import sys
from pathlib import Path
from typing import Any

import bentoml

from tests.benchmarks.peers.job import OURS, WORKERS, Job, http_port

BATCH = 8
batched = bentoml.api(batchable=True, max_batch_size=BATCH)


@bentoml.service(workers=WORKERS, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Service:
    """POST /predict, /explain and /explain_ours, the last with the project's overlay."""

    def __init__(self) -> None:
        self.job = Job()

    @batched
    def predict(self, images: list[str]) -> list[dict[str, Any]]:
        return self.job.run([base64.b64decode(image) for image in images])

    @batched
    def explain(self, images: list[str]) -> list[dict[str, Any]]:
        return self.job.run([base64.b64decode(image) for image in images], explain=True)

    @batched
    def explain_ours(self, images: list[str]) -> list[dict[str, Any]]:
        return self.job.run([base64.b64decode(image) for image in images], explain=True, overlay=OURS)


if __name__ == "__main__":
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    program = str(Path(sys.executable).parent / "bentoml")
    service = "tests.benchmarks.peers.bentoml.server:Service"
    os.execv(program, [program, "serve", service, "--host", "127.0.0.1", "--port", str(http_port())])
