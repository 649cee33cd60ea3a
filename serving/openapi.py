"""The schema behind /docs: every route with its bodies, errors and examples, on a page that needs no network."""

import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.call import NOTICE
from serving.card import ModelCard
from serving.errors import CODES
from serving.schemas import Error, Instances, Prediction, Predictions, TensorRequest, TensorResponse

REFUSED = ("bad_request", "not_an_image", "corrupt", "too_large", "unsupported_type", "wrong_shape", "too_busy", "slow_body")
PREDICTOR = ("predictor_failed", "not_ready", "too_slow")
ERRORS = {
    "/predict": REFUSED + PREDICTOR,
    "/v1/models/{model_name}:predict": (*REFUSED, "not_found", *PREDICTOR),
    "/v1/models/{model_name}:explain": (*REFUSED, "not_found", *PREDICTOR),
    "/v2/models/{model_name}/infer": (*REFUSED, "not_found", *PREDICTOR),
    "/readyz": ("not_ready",),
    "/v2/health/ready": ("not_ready",),
    "/v1/models/{model_name}": ("not_found", "not_ready"),
    "/v2/models/{model_name}": ("not_found",),
    "/v2/models/{model_name}/ready": ("not_found", "not_ready"),
}
BODIES: dict[str, tuple[type[BaseModel], type[BaseModel]]] = {
    "/v1/models/{model_name}:predict": (Instances, Predictions),
    "/v1/models/{model_name}:explain": (Instances, Predictions),
    "/v2/models/{model_name}/infer": (TensorRequest, TensorResponse),
}
ARGUMENTS = re.compile(r"\n\n(?:Args|Returns):")  # what KServe's docstrings say to programmers
HIDDEN = ("/v2/repository/", "/versions/")  # they answer 404
SUMMARIES = {
    "/predict": "Classify one picture",
    "/model": "What the model is and how well it did",
    "/healthz": "Is this process alive?",
    "/readyz": "Does the model behind it answer?",
    "/metrics": "Metrics for Prometheus",
    "/v1/models/{model_name}:predict": "Classify pictures (KServe V1)",
    "/v1/models/{model_name}:explain": "Classify pictures and explain each (KServe V1)",
    "/v2/models/{model_name}/infer": "Classify pictures, and explain where asked to (Open Inference Protocol)",
}


def describe_routes(app: FastAPI, card: ModelCard) -> None:
    """Give the application its title, a complete schema, and /docs from files of this image."""
    app.title, app.version = "Brain-tumour detection", card.version
    app.description = f"Classifies MRI slices and shows why, by Grad-CAM. **{NOTICE}**"
    app.openapi = lambda: app.openapi_schema or _build(app, card)  # type: ignore[method-assign]
    app.mount("/docs/static", StaticFiles(packages=[("fastapi_offline", "static")]))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="../openapi.json",
            title=app.title,
            swagger_js_url="docs/static/swagger-ui-bundle.js",
            swagger_css_url="docs/static/swagger-ui.css",
            swagger_favicon_url="docs/static/favicon.png",
        )


def _build(app: FastAPI, card: ModelCard) -> dict[str, Any]:
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schema["paths"] = {path: item for path, item in schema["paths"].items() if not any(part in path for part in HIDDEN)}
    models: list[type[BaseModel]] = [Error, Prediction, *(model for pair in BODIES.values() for model in pair)]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template="#/components/schemas/{model}")
    schema["components"]["schemas"] |= definitions["$defs"]
    for path, item in schema["paths"].items():
        for operation in item.values():
            _complete(path, operation, card)
    schema["paths"]["/predict"]["post"]["responses"]["200"]["content"] = _json(Prediction)
    schema["paths"]["/metrics"]["get"]["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    app.openapi_schema = schema
    return schema


def _complete(path: str, operation: dict[str, Any], card: ModelCard) -> None:
    operation["summary"] = SUMMARIES.get(path, operation["summary"])
    operation["description"] = ARGUMENTS.split(operation.get("description", ""))[0]
    for parameter in operation.get("parameters", []):
        if parameter["name"] == "model_name":
            parameter["schema"] |= {"enum": [card.name], "example": card.name}
    if path in BODIES:
        request, response = BODIES[path]
        operation["requestBody"] = {"required": True, "content": _json(request)}
        operation["responses"]["200"] |= {"content": _json(response)}
    operation["responses"].pop("422", None)
    operation["responses"] |= _errors(ERRORS.get(path, ()))


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}


def _errors(codes: tuple[str, ...]) -> dict[str, Any]:
    by_status: dict[HTTPStatus, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code][0], []).append(f"`{code}`")
    return {
        str(int(status)): {"description": f"{status.phrase}: {', '.join(names)}", "content": _json(Error)}
        for status, names in by_status.items()
    }
