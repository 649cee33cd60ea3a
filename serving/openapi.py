"""The OpenAPI schema: every route with its bodies, errors and examples, and /docs, which loads nothing from other hosts."""

import json
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

from brain_tumor.model_card import NOTICE, ModelCard
from serving.errors import CODES
from serving.schemas import (
    Columns,
    Error,
    Form,
    FormOptions,
    Inputs,
    Instances,
    Prediction,
    Predictions,
    TensorRequest,
    TensorResponse,
)
from serving.series_schemas import SeriesOptions, SeriesPrediction, SeriesUpload

CLIENT_ERRORS = (
    "bad_request",
    "not_an_image",
    "corrupt",
    "several_images",
    "invisible",
    "too_large",
    "unsupported_type",
    "wrong_shape",
    "too_busy",
    "slow_body",
    "too_many_connections",
)
PREDICTOR_ERRORS = ("predictor_failed", "not_ready", "too_slow")
ERRORS = {
    "/predict": CLIENT_ERRORS + PREDICTOR_ERRORS,
    "/series": (*CLIENT_ERRORS, "several_series", "too_many_slices", *PREDICTOR_ERRORS),
    "/v1/models/{model_name}:predict": (*CLIENT_ERRORS, "not_found", *PREDICTOR_ERRORS),
    "/v1/models/{model_name}:explain": (*CLIENT_ERRORS, "not_found", *PREDICTOR_ERRORS),
    "/v2/models/{model_name}/infer": (*CLIENT_ERRORS, "not_found", *PREDICTOR_ERRORS),
    "/readyz": ("not_ready",),
    "/v2/health/ready": ("not_ready",),
    "/v1/models/{model_name}": ("not_found", "not_ready", "too_many_connections"),
    "/v2/models/{model_name}": ("not_found", "too_many_connections"),
    "/v2/models/{model_name}/ready": ("not_found", "not_ready", "too_many_connections"),
}
BODIES: dict[str, tuple[list[type[BaseModel]], list[type[BaseModel]]]] = {  # of request and response
    "/v1/models/{model_name}:predict": ([Instances, Inputs], [Predictions, Columns]),
    "/v1/models/{model_name}:explain": ([Instances, Inputs], [Predictions, Columns]),
    "/v2/models/{model_name}/infer": ([TensorRequest], [TensorResponse]),
}
FORMS: dict[str, tuple[type[BaseModel], type[BaseModel], type[BaseModel]]] = {  # options in the query, form, and response
    "/predict": (FormOptions, Form, Prediction),
    "/series": (SeriesOptions, SeriesUpload, SeriesPrediction),
}
DESCRIPTIONS = {
    "/predict": "Classify one image, and explain it if requested.",
    "/series": "Classify each slice of one series, explain the highest, and count the slices that reach the threshold. "
    "The result is about slices: it is no statement about the patient.",
}
SECTIONS = re.compile(r"\n\n(?:Args|Returns):")  # of KServe's docstrings, for programmers
REFERENCE = re.compile(r"#/components/schemas/(\w+)")
HIDDEN = ("/v2/repository/", "/versions/")  # 404, and the same as without a version
SUMMARIES = {
    "/predict": "Classify one image",
    "/series": "Classify the slices of a series",
    "/model": "Model card: classes, training data and metrics",
    "/healthz": "Is this process alive?",
    "/readyz": "Has the predictor loaded the model?",
    "/": "Is this process alive? (KServe)",
    "/metrics": "Metrics for Prometheus",
    "/v1/models": "Model name",
    "/v1/models/{model_name}": "Has the predictor loaded the model?",
    "/v1/models/{model_name}:predict": "Classify images",
    "/v1/models/{model_name}:explain": "Classify images and explain each prediction",
    "/v2": "Server name and extensions",
    "/v2/health/live": "Is this process alive?",
    "/v2/health/ready": "Has the predictor loaded the model?",
    "/v2/models": "Model name",
    "/v2/models/{model_name}": "Model inputs and outputs",
    "/v2/models/{model_name}/ready": "Has the predictor loaded the model?",
    "/v2/models/{model_name}/infer": "Classify images, and explain each prediction if requested",
}
TAGS = {"V1": "KServe V1", "V2": "Open Inference Protocol (V2)"}


def describe_routes(app: FastAPI, card: ModelCard) -> None:
    """Set the application's title, its complete schema, and /docs with files from this container image."""
    app.title, app.version = "Brain-tumour detection", card.version
    app.description = f"Classifies MRI slices and explains each prediction with a heatmap. **{NOTICE}**"
    app.description += " Request bodies may be compressed with gzip or deflate (Content-Encoding)."
    app.openapi = lambda: app.openapi_schema or _build(app, card)  # type: ignore[method-assign]
    app.mount("/docs/static", StaticFiles(packages=[("fastapi_offline", "static")]))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="docs/static/swagger-ui-bundle.js",
            swagger_css_url="docs/static/swagger-ui.css",
            swagger_favicon_url="docs/static/favicon.png",
        )


def _build(app: FastAPI, card: ModelCard) -> dict[str, Any]:
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schema["paths"] = {path: item for path, item in schema["paths"].items() if not any(part in path for part in HIDDEN)}
    for path, described in FORMS.items():
        schema["paths"][path] = {"post": _describe_form(path, *described)}
    models: list[type[BaseModel]] = [
        Error,
        *(model for _, *described in FORMS.values() for model in described),
        *(model for pair in BODIES.values() for models in pair for model in models),
    ]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template="#/components/schemas/{model}")
    schemas = schema["components"]["schemas"] | definitions["$defs"]
    for path, item in schema["paths"].items():
        for operation in item.values():
            _complete(path, operation, card)
    schemas["Form"]["properties"]["explain"] |= {"type": ["boolean", "integer", "string"]}  # as text: true, 1, on
    schema["paths"]["/metrics"]["get"]["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    schema["components"]["schemas"] = _used(schemas, schema["paths"])
    app.openapi_schema = schema
    return schema


def _describe_form(
    path: str, options_model: type[BaseModel], form: type[BaseModel], prediction: type[BaseModel]
) -> dict[str, Any]:
    """Describe a route that takes a form, which is no route of FastAPI."""
    options = options_model.model_json_schema()["properties"]
    name = path.removeprefix("/")
    return {
        "tags": ["Image"],
        "description": DESCRIPTIONS[path],
        "operationId": f"{name}_{name}_post",
        "parameters": [
            {"name": name, "in": "query", "required": False, "description": option.pop("description"), "schema": option}
            for name, option in options.items()
        ],
        "requestBody": {"required": True, "content": {"multipart/form-data": _json(form)["application/json"]}},
        "responses": {"200": {"description": "Successful Response", "content": _json(prediction)}},
    }


def _used(schemas: dict[str, Any], paths: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas that the paths refer to, directly or through other schemas."""
    names: set[str] = set()
    referenced = set(REFERENCE.findall(json.dumps(paths)))
    while referenced - names:
        names |= referenced
        referenced = set(REFERENCE.findall(json.dumps([schemas[name] for name in names])))
    return {name: schema for name, schema in schemas.items() if name in names}


def _complete(path: str, operation: dict[str, Any], card: ModelCard) -> None:
    operation["summary"] = SUMMARIES[path]
    operation["tags"] = [TAGS.get(tag, tag) for tag in operation.get("tags", ["Probes"])]
    operation["description"] = SECTIONS.split(operation.get("description", ""))[0]
    # KServe declares a model version that it does not support.
    operation["parameters"] = [parameter for parameter in operation.get("parameters", []) if parameter["name"] != "model_version"]
    for parameter in operation["parameters"]:
        if parameter["name"] == "model_name":
            parameter["schema"] |= {"enum": [card.name], "example": card.name}
    if path in BODIES:
        requests, responses = BODIES[path]
        operation["requestBody"] = {"required": True, "content": _json(*requests)}
        operation["responses"]["200"] |= {"content": _json(*responses)}
    operation["responses"].pop("422", None)
    operation["responses"] |= _errors(ERRORS.get(path, ()))


def _json(*models: type[BaseModel]) -> dict[str, Any]:
    references = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in models]
    return {"application/json": {"schema": references[0] if len(references) == 1 else {"anyOf": references}}}


def _error(code: str) -> dict[str, Any]:
    content = _json(Error)
    content["application/json"]["example"] = {"error": "where: got X, expected Y", "code": code}
    return content


def _errors(codes: tuple[str, ...]) -> dict[str, Any]:
    by_status: dict[HTTPStatus, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code][0], []).append(code)
    return {
        str(int(status)): {
            "description": f"{status.phrase}: {', '.join(f'`{name}`' for name in names)}",
            "content": _error(names[0]),
        }
        for status, names in by_status.items()
    }
