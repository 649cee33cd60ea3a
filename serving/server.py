"""Serve the transformer with KServe's ModelServer: REST and gRPC on one event loop, with one concurrency limit."""

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
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request

from brain_tumor.errors import InputError
from serving import v1, v2
from serving.concurrency_limit import ConcurrencyLimit
from serving.connection_limits import ConnectionLimits, max_connections
from serving.errors import CODES, ServiceError, as_service_error
from serving.grpc_limits import LimitsInterceptor
from serving.metrics import Metrics
from serving.model_version import ModelVersionMiddleware, VersionedServicer
from serving.openapi import SUMMARIES, describe_routes
from serving.rest_limits import ALLOWED_HEADERS, UNMETERED_PATHS, LimitsMiddleware
from serving.routes import add_routes
from serving.settings import CLIENT_TIMEOUT_SECONDS, DRAIN_SECONDS, IDLE_SECONDS, MAX_BODY_BYTES, Settings
from serving.signals import leave_signals_to_uvicorn
from serving.transformer import Transformer

MAX_RESPONSE_BYTES = 4 * MAX_BODY_BYTES
JSON_LENGTH = "inference-header-content-length"


class Server(ModelServer):
    """KServe's server of one transformer, with V1 and V2 over REST, V2 over gRPC, and the routes of `serving/routes.py`."""

    def __init__(self, transformer: Transformer, settings: Settings, metrics: Metrics):
        super().__init__(http_port=settings.http_port, grpc_port=settings.grpc_port)
        self.transformer, self.settings, self.metrics = transformer, settings, metrics
        self.max_connections = max_connections(settings.max_in_flight)
        self.concurrency_limit = ConcurrencyLimit(settings.max_in_flight, metrics)
        self.dataplane = TransformerDataPlane(self.registered_models, transformer)
        self.model_repository_extension = ReadOnlyRepository(self.registered_models)
        self.register_model(transformer)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, and finish the requests in flight.

        Raises:
            InputError: The gRPC port is in use.
        """
        uvloop.run(self._serve())

    async def _serve(self) -> None:
        grpc_server = self._create_grpc_server()
        await grpc_server.start()
        try:
            await TransformerRestServer(self).start()
        finally:
            await grpc_server.stop(DRAIN_SECONDS)
            self.transformer.predictor.close()

    def _create_grpc_server(self) -> aio.Server:
        server = aio.server(
            interceptors=[LimitsInterceptor(self.concurrency_limit, self.metrics)],
            options=[
                ("grpc.max_receive_message_length", MAX_BODY_BYTES),
                ("grpc.max_send_message_length", MAX_RESPONSE_BYTES),
                ("grpc.so_reuseport", 0),
                ("grpc.max_allowed_incoming_connections", self.max_connections),
                ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
                ("grpc.server_handshake_timeout_ms", CLIENT_TIMEOUT_SECONDS * 1000),
            ],
            # A message is in memory before the interceptor runs.
            maximum_concurrent_rpcs=2 * self.settings.max_in_flight,
        )
        self.metrics.declare_routes(["ModelInfer"], {"OK", "CANCELLED", *(status.name for _, status in CODES.values())})
        servicer = VersionedServicer(self.dataplane, self.model_repository_extension, self.transformer.card.version)
        add_GRPCInferenceServiceServicer_to_server(servicer, server)
        try:
            server.add_insecure_port(f"[::]:{self.grpc_port}")
        except RuntimeError as error:
            raise InputError(f"GRPC_PORT: got {self.grpc_port}, expected a free port") from error
        return server


class TransformerRestServer(RESTServer):
    """KServe's REST server with our routes, limits and errors."""

    def __init__(self, server: Server):
        super().__init__(
            FASTAPI_APP_IMPORT_STRING,
            server.dataplane,
            server.model_repository_extension,
            server.http_port,
            grace_period=DRAIN_SECONDS,
            timeout_keep_alive=IDLE_SECONDS,
        )
        self._parent = server
        ConnectionLimits(server.max_connections, lambda code: server.metrics.rejected.labels(code).inc()).apply(self.config)
        self.config.ws = "none"
        self.config.proxy_headers = False  # no one reads the client's address

    def create_application(self) -> None:
        """Set up the application that uvicorn is about to serve."""
        app.router.redirect_slashes = False  # its Location would repeat the client's Host header
        add_routes(app, self._parent.transformer, self._parent.dataplane, self._parent.settings)
        super().create_application()
        describe_routes(app, self._parent.transformer.card)
        statuses = {"200", *(str(int(status)) for status, _ in CODES.values())}
        self._parent.metrics.declare_routes({*SUMMARIES, "other"} - UNMETERED_PATHS, statuses)
        leave_signals_to_uvicorn()

    def _add_middlewares(self, app: Any) -> None:
        parent = self._parent
        app.add_middleware(ModelVersionMiddleware, served=parent.transformer.card.version)
        app.add_middleware(
            LimitsMiddleware,
            settings=parent.settings,
            metrics=parent.metrics,
            concurrency_limit=parent.concurrency_limit,
        )
        if origins := Settings.split_origins(parent.settings.cors_origins):
            app.add_middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=["GET", "HEAD", "POST"],
                allow_headers=[name.decode() for name in ALLOWED_HEADERS],
                expose_headers=["x-request-id", "retry-after", JSON_LENGTH],
            )

    def _add_exception_handlers(self, app: Any) -> None:
        super()._add_exception_handlers(app)
        for kind in [kind for kind in app.exception_handlers if kind is not Exception]:
            app.add_exception_handler(kind, _raise_service_error)
        app.add_exception_handler(ServiceError, _raise_service_error)


class TransformerDataPlane(DataPlane):
    """The functions behind KServe's routes and gRPC methods: strict decoding, the predictor's readiness, no headers echoed."""

    def __init__(self, registry: Any, transformer: Transformer):
        super().__init__(registry)
        self._transformer = transformer

    def metadata(self) -> dict[str, Any]:
        return super().metadata() | {"extensions": ["binary_tensor_data"]}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        return await super().model_metadata(model_name) | {"versions": [self._transformer.card.version]}

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
    """A pod serves the version it was started with: no client can load or unload a model."""

    async def load(self, model_name: str) -> None:
        """Reject the request."""
        raise ModelNotFound(model_name)

    unload = load


async def _raise_service_error(_: Request, error: Exception) -> None:
    """Pass every error to `LimitsMiddleware`, which sends, logs and counts them all."""
    raise as_service_error(error) from None
