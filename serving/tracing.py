"""Spans of the requests, sent by OTLP over HTTP. Imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set.

The tracer provider is not the global one, for which FastAPI would record every request with its path, query and Host header.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from typing import Any, TypeVar

from kserve import InferRequest
from kserve.model import InferenceVerb
from opentelemetry import context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from brain_tumor.model_card import ModelCard
from serving.errors import ServiceError
from serving.inference import ImageRequest, ImageResult, PreparedImage
from serving.metrics import Metrics
from serving.settings import Settings
from serving.transformer import Transformer

T = TypeVar("T")
W3C = TraceContextTextMapPropagator()


class TracedTransformer(Transformer):
    """A transformer with a span of each request in the caller's trace, and in it one of each decode, predictor call and render.

    A span has its times, and an error's code, and nothing of the request. OpenTelemetry's own variables set the sampler, the
    headers for the collector, and the service's name, by default the model's.
    """

    def __init__(self, card: ModelCard, settings: Settings, metrics: Metrics):
        super().__init__(card, settings, metrics)
        named = Resource({"service.name": card.name, "service.version": card.version}).merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=Resource.create(named.attributes))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = provider.get_tracer("brain_tumor")

    async def __call__(
        self,
        body: ImageRequest | InferRequest,
        headers: dict[str, str] | None = None,
        verb: InferenceVerb = InferenceVerb.PREDICT,
    ) -> tuple[Any, dict[str, str]]:
        """Handle one request in a span whose parent is the caller's."""
        with self.request_context(headers or {}):
            return await super().__call__(body, headers, verb)

    @contextlib.contextmanager
    def request_context(self, headers: Mapping[str, str]) -> Iterator[None]:
        """Record a span of the request, whose parent is the caller's."""
        token = context.attach(W3C.extract(headers))
        try:
            with self._span("request", SpanKind.SERVER):
                yield
        finally:
            context.detach(token)

    def _decode_image(self, request: ImageRequest, index: int) -> PreparedImage:
        with self._span("decode"):
            return super()._decode_image(request, index)

    async def _call_predictor(
        self, signature: str, request: ImageRequest, encoded: list[bytes], headers: Mapping[str, str]
    ) -> ImageRequest:
        with self._span("predictor", SpanKind.CLIENT):
            joined = dict(headers)
            W3C.inject(joined)
            return await super()._call_predictor(signature, request, encoded, joined)

    def _render(self, request: ImageRequest, index: int) -> ImageResult:
        with self._span("render"):
            return super()._render(request, index)

    async def _run_on_workers(self, work: Callable[[int], T], count: int, *, here: bool = False) -> list[T]:
        contexts = [copy_context() for _ in range(count)]  # a worker has none of its own
        return await super()._run_on_workers(lambda index: contexts[index].run(work, index), count, here=here)

    @contextlib.contextmanager
    def _span(self, name: str, kind: SpanKind = SpanKind.INTERNAL) -> Iterator[None]:
        """Record a span. An error leaves its code: its message or stack may contain data of the client."""
        start = self._tracer.start_as_current_span
        with start(name, kind=kind, record_exception=False, set_status_on_exception=False) as span:
            try:
                yield
            except Exception as error:
                span.set_attribute("error.type", error.code if isinstance(error, ServiceError) else type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise
