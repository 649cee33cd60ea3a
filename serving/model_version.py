"""The model version that a request may name: the one that this process serves. Any other is not found."""

import re
from typing import Any

from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.servicer import InferenceServicer
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import ServiceError

VERSIONED_PATH = re.compile(r"(/v[12]/models/[^/]+)/versions/([^/:]+)([:/][^/]+)?")


def check_version(version: str, served: str) -> None:
    """Raise ServiceError `not_found` if a request names another version than the served one; empty if it names none."""
    if version not in ("", served):
        raise ServiceError("not_found", f"no such version of the model on this server, expected {served} or none")


class ModelVersionMiddleware:
    """ASGI middleware that answers `/versions/{version}` after a model's name as the same path without it, in V1 and V2."""

    def __init__(self, app: ASGIApp, served: str):
        self._app, self._served = app, served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the version in the path, and remove it."""
        if match := VERSIONED_PATH.fullmatch(scope.get("path", "")):
            check_version(match[2], self._served)
            scope["path"] = match[1] + (match[3] or "")
        await self._app(scope, receive, send)


class VersionedServicer(InferenceServicer):
    """KServe's gRPC service, with the version in requests and metadata."""

    def __init__(self, data_plane: Any, repository: Any, served: str):
        super().__init__(data_plane, repository)
        self._served = served

    async def ModelReady(self, request: messages.ModelReadyRequest, context: Any) -> messages.ModelReadyResponse:
        check_version(request.version, self._served)
        return await super().ModelReady(request, context)

    async def ModelMetadata(self, request: messages.ModelMetadataRequest, context: Any) -> messages.ModelMetadataResponse:
        check_version(request.version, self._served)
        metadata = await super().ModelMetadata(request, context)
        metadata.versions.append(self._served)
        return metadata

    async def ModelInfer(self, request: messages.ModelInferRequest, context: Any) -> messages.ModelInferResponse:
        check_version(request.model_version, self._served)
        return await super().ModelInfer(request, context)
