"""The routes in addition to KServe's: one image as a form, a series, the model card, and the probes."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request, Response
from kserve.constants.constants import PredictorProtocol
from kserve.protocol.dataplane import DataPlane
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from serving.errors import MODEL_NOT_LOADED, ServiceError, describe_violations
from serving.form_parser import read_file, read_form
from serving.inference import ImageRequest
from serving.rest_limits import SERIES
from serving.schemas import FormOptions
from serving.series import Series
from serving.series_files import SeriesFiles
from serving.series_schemas import SeriesOptions
from serving.settings import DEFAULT_HIGHEST, MAX_HIGHEST, Settings
from serving.transformer import Transformer

Options = TypeVar("Options", bound=BaseModel)


class ImageForm:
    """ASGI application that classifies the image of a form, and explains it if requested.

    It is no endpoint of FastAPI, whose dependencies and validation would take longer than the form itself.
    """

    def __init__(self, transformer: Transformer):
        self._transformer = transformer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = Request(scope, receive)
        form = await read_form(request)
        files = [file for file in form.getlist("file") if isinstance(file, UploadFile)]
        if len(files) != 1:
            raise ServiceError("wrong_shape", f"file: got {len(files)} files, expected one; send several images to /v1 or /v2")
        filled = {name: value for name, value in form.items() if value != ""}
        in_query, in_form = _options(FormOptions, request.query_params, "query"), _options(FormOptions, filled, "form")
        if len(numbers := {in_query.frame, in_form.frame} - {None}) > 1:
            raise ServiceError(
                "wrong_shape", f"frame: got {in_query.frame} in the query, {in_form.frame} in the form, expected one number"
            )
        image = ImageRequest([await read_file(files[0])], in_query.explain or in_form.explain, frames=tuple(numbers))
        result, _ = await self._transformer(image, dict(request.headers))
        content = orjson.dumps(result["predictions"][0])
        await Response(content, media_type="application/json")(scope, receive, send)


class SeriesForm:
    """ASGI application that classifies the slices of a series, each while the next ones are received."""

    def __init__(self, transformer: Transformer, settings: Settings):
        self._transformer, self._settings = transformer, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = Request(scope)
        with self._transformer.request_context(request.headers):
            try:
                async with asyncio.TaskGroup() as tasks:
                    answer = await self._classify(request, receive, tasks)
            except BaseExceptionGroup as group:
                raise _first_error(group) from None
        await Response(orjson.dumps(answer), media_type="application/json")(scope, receive, send)

    async def _classify(self, request: Request, receive: Receive, tasks: asyncio.TaskGroup) -> dict[str, Any]:
        in_query = _options(SeriesOptions, request.query_params, "query").highest
        series = Series(self._transformer, dict(request.headers))
        chunks = _received(receive, asyncio.get_running_loop())
        files = SeriesFiles(request.headers["content-type"], chunks, self._settings)
        contents, at_work = enumerate(files), []
        # In a thread: what is received is parsed, and inflated if it is a zip, by code that waits for more.
        while (file := await asyncio.to_thread(next, contents, None)) is not None:
            series.highest = _highest(in_query, files.fields, MAX_HIGHEST)
            await series.wait_for_room()
            at_work.append(tasks.create_task(series.add_file(*file)))
            del file
        series.highest = _highest(in_query, files.fields, DEFAULT_HIGHEST)
        watch = tasks.create_task(_raise_when_gone(receive))
        if at_work:
            await asyncio.wait(at_work)
        answer = await series.finish()
        watch.cancel()
        return answer


class NamedRoute(Route):
    """A route that names itself in the scope, as FastAPI's do, for log and metrics."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}


def _options(kind: type[Options], fields: Mapping[str, Any], place: str) -> Options:
    """Read the options among the fields of a query or form."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise ServiceError("wrong_shape", f"{place}: {describe_violations(error.errors())}") from None


def _highest(in_query: int | None, fields: Mapping[str, str], default: int) -> int:
    """Return how many slices to explain: the number in the query or in the fields of the form so far, or else a default."""
    in_form = _options(SeriesOptions, {name: value for name, value in fields.items() if value != ""}, "form").highest
    if None not in (in_query, in_form) and in_query != in_form:
        raise ServiceError("wrong_shape", f"highest: got {in_query} in the query, {in_form} in the form, expected one number")
    return next((number for number in (in_query, in_form) if number is not None), default)


def _received(receive: Receive, loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """Yield a request's body, in another thread than that of the event loop."""

    async def message() -> Message:
        return await receive()

    more = True
    while more:
        received = asyncio.run_coroutine_threadsafe(message(), loop).result()
        more = received["more_body"]
        yield received["body"]


async def _raise_when_gone(receive: Receive) -> None:
    """Wait until the client of a request whose body is read closes the connection."""
    await receive()
    raise ServiceError("bad_request", "the client closed the connection before the answer")


def _first_error(group: BaseExceptionGroup) -> BaseException:
    """Return the error that ended a group of tasks: the others were cancelled because of it."""
    first = group.exceptions[0]
    return _first_error(first) if isinstance(first, BaseExceptionGroup) else first


def add_routes(app: FastAPI, transformer: Transformer, dataplane: DataPlane, settings: Settings) -> None:
    """Add the routes to KServe's application."""

    app.router.routes.append(NamedRoute("/predict", ImageForm(transformer), methods=["POST"]))
    app.router.routes.append(NamedRoute(SERIES, SeriesForm(transformer, settings), methods=["POST"]))

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
