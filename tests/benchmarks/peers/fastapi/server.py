"""Bare FastAPI: uvicorn with a worker a core, and the SavedModel in the process of each.

- The routes are `def`, so that they run in the thread pool, as the documentation advises for blocking code
  (https://fastapi.tiangolo.com/async/), and return a Response directly, without validating what they made
  (https://fastapi.tiangolo.com/advanced/response-directly/).
- `workers` is the number of cores (https://fastapi.tiangolo.com/deployment/server-workers/), with uvloop and httptools, as
  `uvicorn[standard]` installs them. No access log.
"""

import orjson
import uvicorn
from fastapi import FastAPI, Response, UploadFile

from tests.benchmarks.peers.job import OWN, WORKERS, Job, http_port


def create_app() -> FastAPI:
    """Return an application with POST /predict; `?explain=true` adds heatmap and overlay."""
    app, job = FastAPI(), Job()

    @app.post("/predict")
    def predict(file: UploadFile, explain: bool = False, overlay: str = OWN) -> Response:
        (row,) = job.run([file.file.read()], explain=explain, overlay=overlay)
        return Response(orjson.dumps(row), media_type="application/json")

    @app.get("/ready")
    def ready() -> None:
        pass

    return app


if __name__ == "__main__":
    application = "tests.benchmarks.peers.fastapi.server:create_app"
    uvicorn.run(application, factory=True, port=http_port(), workers=WORKERS, access_log=False, log_level="warning")
