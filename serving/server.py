"""Serve the transformer with KServe's ModelServer: REST and gRPC on one event loop, one gate before both."""

from typing import Any

import uvloop
from grpc import aio
from kserve import InferResponse, ModelServer
from kserve.constants.constants import FASTAPI_APP_IMPORT_STRING, PredictorProtocol
from kserve.errors import ModelNotFound
from kserve.model import InferenceVerb
from kserve.model_server import app
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer
from starlette.requests import Request

from serving import v1, v2
from serving.errors import ServiceError, as_service_error
from serving.grpc_limits import LimitsInterceptor
from serving.limits import ConcurrencyLimit, HeaderLimitProtocol, LimitsMiddleware
from serving.metrics import Metrics
from serving.openapi import describe_routes
from serving.routes import add_routes
from serving.settings import DRAIN_SECONDS, MAX_BODY_BYTES, SettingError, Settings
from serving.transformer import Transformer

MAX_ANSWER_BYTES = 4 * MAX_BODY_BYTES
JSON_LENGTH = "inference-header-content-length"


class Server(ModelServer):
    """KServe's server of one transformer, with V1 and V2 over REST, V2 over gRPC, and the routes of `serving/routes.py`."""

    def __init__(self, transformer: Transformer, settings: Settings, metrics: Metrics):
        super().__init__(http_port=settings.http_port, grpc_port=settings.grpc_port)
        self.transformer, self.settings, self.metrics = transformer, settings, metrics
        self.gate = ConcurrencyLimit(settings.max_in_flight, metrics)
        self.dataplane = TransformerDataPlane(self.registered_models, transformer)
        self.model_repository_extension = ReadOnlyRepository(self.registered_models)
        self.register_model(transformer)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then let what is in flight end."""
        self.register_signal_handler()
        uvloop.run(self._serve())

    def stop(self, sig: int) -> None:
        """Do nothing: uvicorn takes the signal first, drains, and `_serve` goes on."""

    async def _serve(self) -> None:
        options = [
            ("grpc.max_receive_message_length", MAX_BODY_BYTES),
            ("grpc.max_send_message_length", MAX_ANSWER_BYTES),
            ("grpc.so_reuseport", 0),
        ]
        grpc_server = aio.server(
            interceptors=[LimitsInterceptor(self.gate, self.metrics)],
            options=options,
            # Messages are in memory before the gate sees them.
            maximum_concurrent_rpcs=2 * self.settings.max_in_flight,
        )
        servicer = InferenceServicer(self.dataplane, self.model_repository_extension)
        add_GRPCInferenceServiceServicer_to_server(servicer, grpc_server)
        try:
            grpc_server.add_insecure_port(f"[::]:{self.grpc_port}")
        except RuntimeError as error:
            raise SettingError(f"GRPC_PORT {self.grpc_port} cannot be bound: is another process listening there?") from error
        await grpc_server.start()
        try:
            await TransformerRestServer(self).start()
        finally:
            await grpc_server.stop(DRAIN_SECONDS)
            await self.transformer.predictor.close()


class TransformerRestServer(RESTServer):
    """KServe's REST routes behind our limits, with our errors."""

    def __init__(self, server: Server):
        super().__init__(
            FASTAPI_APP_IMPORT_STRING,
            server.dataplane,
            server.model_repository_extension,
            server.http_port,
            grace_period=DRAIN_SECONDS,
        )
        self._of = server
        self.config.http = HeaderLimitProtocol
        self.config.ws = "none"

    def create_application(self) -> None:
        """Put routes, limits and error handlers on the application that uvicorn serves."""
        app.router.redirect_slashes = False  # its Location would repeat the client's Host
        add_routes(app, self._of.transformer, self._of.dataplane)
        super().create_application()
        describe_routes(app, self._of.transformer.card)

    def _add_middlewares(self, app: Any) -> None:
        app.add_middleware(LimitsMiddleware, settings=self._of.settings, metrics=self._of.metrics, gate=self._of.gate)

    def _add_exception_handlers(self, app: Any) -> None:
        super()._add_exception_handlers(app)
        for kind in [kind for kind in app.exception_handlers if kind is not Exception]:
            app.add_exception_handler(kind, _raise_service_error)
        app.add_exception_handler(ServiceError, _raise_service_error)


class TransformerDataPlane(DataPlane):
    """What KServe's routes and the gRPC service call: strict decoding, readiness of the predictor, no header in an answer."""

    def __init__(self, registry: Any, transformer: Transformer):
        super().__init__(registry)
        self._transformer = transformer

    def metadata(self) -> dict[str, Any]:
        return super().metadata() | {"extensions": ["binary_tensor_data"]}

    async def ready(self) -> bool:
        return await self._transformer.is_available()

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
        self.get_model_from_registry(model_name)
        return disable_predictor_health_check or await self.ready()

    def decode(
        self, body: Any, headers: Any, protocol_version: str = PredictorProtocol.REST_V1.value, model_name: str | None = None
    ) -> tuple[Any, dict]:
        if protocol_version == PredictorProtocol.REST_V2.value:
            return v2.read_rest(body, headers.get(JSON_LENGTH), self._transformer.name), {}
        return v1.read_body(body), {}

    def encode(self, model_name: str, response: Any, headers: Any, req_attributes: Any) -> tuple[Any, dict[str, str]]:
        if not isinstance(response, InferResponse):
            return response, {}
        body, json_length = response.to_rest()
        return body, {} if json_length is None else {JSON_LENGTH: str(json_length)}

    async def explain(self, model_name: str, request: Any, headers: Any = None) -> tuple[Any, dict[str, str]]:
        model = await self.get_model(model_name)
        response, _ = await model(request, headers, InferenceVerb.EXPLAIN)
        return response, {}


class ReadOnlyRepository(ModelRepositoryExtension):
    """The pod serves the version it was started with: nobody loads or unloads one over the network."""

    async def load(self, model_name: str) -> None:
        """Refuse."""
        raise ModelNotFound(model_name)

    unload = load


async def _raise_service_error(_: Request, error: Exception) -> None:
    """Hand every error on to `Limits`, which alone writes and counts them."""
    raise as_service_error(error) from None
