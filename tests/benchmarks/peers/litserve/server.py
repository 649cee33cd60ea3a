"""LitServe, as its documentation advises for a model on CPU cores.

- `workers_per_device` is the number of cores, on one CPU device, and the API servers are as many, the default
  (https://lightning.ai/docs/litserve/api-reference/litserver).
- The request is JSON with the image in base64, as in its guide (https://lightning.ai/docs/litserve/speed-up-serving-by-200x).
- No batches, the default: with one TensorFlow thread in each worker a batch takes as much processor time as its images one by
  one, and the workers that wait for one (https://lightning.ai/docs/litserve/features/batching) poll, which delays a single
  client, and takes an eighth of a core from all other systems even without a request.
- Its gzip middleware, which has no setting, is taken out. LitServe sends no usage data.
"""

import base64
from typing import Any

import litserve
from starlette.middleware.gzip import GZipMiddleware

from tests.benchmarks.peers.job import OWN, WORKERS, Job, http_port


class Api(litserve.LitAPI):
    """POST /predict with `image`, and optionally `explain` and `overlay`."""

    def setup(self, device: str) -> None:
        self.job = Job()

    def decode_request(self, request: dict[str, Any]) -> tuple[bytes, bool, str]:
        return base64.b64decode(request["image"]), request.get("explain", False), request.get("overlay", OWN)

    def predict(self, x: tuple[bytes, bool, str]) -> dict[str, Any]:
        image, explain, overlay = x
        (row,) = self.job.run([image], explain=explain, overlay=overlay)
        return row


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", devices=1, workers_per_device=WORKERS)
    server.app.user_middleware = [each for each in server.app.user_middleware if each.cls is not GZipMiddleware]
    server.run(host="127.0.0.1", port=http_port(), log_level="warning", generate_client_file=False)
