"""The routes in addition to KServe's: one image as a form, the model card, and the probes."""

from typing import Annotated, Any

import orjson
from fastapi import FastAPI, File, Form, Query, Request, Response, UploadFile
from kserve.constants.constants import PredictorProtocol
from kserve.protocol.dataplane import DataPlane

from serving.errors import MODEL_NOT_LOADED, ServiceError
from serving.form_parser import read_file
from serving.inference import ImageRequest
from serving.transformer import Transformer

EXPLAIN = "also return the heatmap of the explanation and its overlay"
FRAME = "number of the image to classify in a file with several, from 1"


def add_routes(app: FastAPI, transformer: Transformer, dataplane: DataPlane) -> None:
    """Add the routes to KServe's application."""

    @app.post("/predict", tags=["Image"])
    async def predict(
        request: Request,
        file: Annotated[UploadFile, File(description="an image file: JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF, PPM or JPEG 2000")],
        explain: Annotated[bool, Query(description=EXPLAIN)] = False,
        explain_field: Annotated[bool, Form(alias="explain", description=EXPLAIN)] = False,
        frame: Annotated[int | None, Query(description=FRAME, json_schema_extra={"minimum": 1})] = None,
        frame_field: Annotated[int | None, Form(alias="frame", description=FRAME, json_schema_extra={"minimum": 1})] = None,
    ) -> Response:
        """Classify one image, and explain it if requested."""
        count = len((await request.form()).getlist("file"))
        if count != 1:
            raise ServiceError("wrong_shape", f"file: got {count} files, expected one; send several images to /v1 or /v2")
        if len(numbers := {frame, frame_field} - {None}) > 1:
            raise ServiceError("wrong_shape", f"frame: got {frame} in the query, {frame_field} in the form, expected one number")
        image = ImageRequest([await read_file(file)], explain or explain_field, frames=tuple(numbers))
        result, _ = await transformer(image, dict(request.headers))
        return Response(orjson.dumps(result["predictions"][0]), media_type="application/json")

    @app.post("/v2/models/{model_name}/infer", tags=["V2"])
    async def infer(model_name: str, request: Request) -> Response:
        """Replace KServe's route, which parses JSON without limits and has no raw bytes."""
        await dataplane.model_ready(model_name, disable_predictor_health_check=True)
        headers = dict(request.headers)
        infer_request, _ = dataplane.decode(await request.body(), headers, PredictorProtocol.REST_V2.value, model_name)
        response, _ = await dataplane.infer(model_name, infer_request, headers)
        body, response_headers = dataplane.encode(model_name, response, headers, {})
        if isinstance(body, bytes):
            return Response(body, headers=response_headers, media_type="application/octet-stream")
        return Response(orjson.dumps(body), media_type="application/json")

    @app.get("/model", tags=["Model"])
    async def model() -> dict[str, Any]:
        """Return the model card: the model's classes, training data and metrics (model.json)."""
        return transformer.card.document

    @app.get("/healthz", tags=["Probes"])
    async def healthz() -> dict[str, str]:
        """Report that this process is alive, without a call to the predictor."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["Probes"])
    async def readyz() -> dict[str, str]:
        """Report whether the predictor has loaded the model."""
        if not await transformer.is_available():
            raise ServiceError("not_ready", MODEL_NOT_LOADED)
        return {"status": "ready"}
