"""The routes beside KServe's: one image as a form, the model's card, and the probes."""

from typing import Annotated, Any

import orjson
from fastapi import FastAPI, File, Query, Request, Response, UploadFile
from kserve.constants.constants import PredictorProtocol
from kserve.protocol.dataplane import DataPlane
from starlette.formparsers import MultiPartParser

from serving.errors import ServiceError
from serving.inference import ImageRequest
from serving.settings import MAX_BODY_BYTES
from serving.transformer import Transformer

# A form's file stays in memory: above this size Starlette would write it to the disk.
MultiPartParser.spool_max_size = MAX_BODY_BYTES


def add_routes(app: FastAPI, transformer: Transformer, dataplane: DataPlane) -> None:
    """Add them to KServe's application."""

    @app.post("/predict", tags=["Image"])
    async def predict(
        request: Request,
        file: Annotated[UploadFile, File(description="an image file: JPEG, PNG, GIF, BMP, TIFF, WebP, PPM or JPEG 2000")],
        explain: Annotated[bool, Query(description="also return the Grad-CAM heatmap and its overlay")] = False,
    ) -> Response:
        """Classify one image, and explain it where asked to."""
        came = len((await request.form()).getlist("file"))
        if came != 1:
            raise ServiceError("wrong_shape", f"{came} files came, wanted one: lists go to /v1 or /v2")
        data = await file.read()
        await file.close()  # a second copy of it, in memory
        answered, _ = await transformer(ImageRequest([data], explain), dict(request.headers))
        return Response(orjson.dumps(answered["predictions"][0]), media_type="application/json")

    @app.post("/v2/models/{model_name}/infer", tags=["V2"])
    async def infer(model_name: str, request: Request) -> Response:
        """Take KServe's route: that one parses JSON without bounds, and has no raw bytes."""
        await dataplane.model_ready(model_name, disable_predictor_health_check=True)
        headers = dict(request.headers)
        asked, _ = dataplane.decode(await request.body(), headers, PredictorProtocol.REST_V2.value, model_name)
        response, _ = await dataplane.infer(model_name, asked, headers)
        body, more = dataplane.encode(model_name, response, headers, {})
        if isinstance(body, bytes):
            return Response(body, headers=more, media_type="application/octet-stream")
        return Response(orjson.dumps(body), media_type="application/json")

    @app.get("/model", tags=["Model"])
    async def model() -> dict[str, Any]:
        """Return model.json: what the model is, what it was made of, and how well it did."""
        return transformer.card.document

    @app.get("/healthz", tags=["Probes"])
    async def healthz() -> dict[str, str]:
        """Say that this process is alive; the predictor is not asked."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["Probes"])
    async def readyz() -> dict[str, str]:
        """Say whether the model behind this process answers."""
        if not await transformer.is_available():
            raise ServiceError("not_ready", "the predictor has not loaded the model yet")
        return {"status": "ready"}
