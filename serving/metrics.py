"""Prometheus metrics. Label values come from fixed sets, never from client data."""

import contextlib
import math
import time
from collections.abc import Collection, Iterator
from http import HTTPStatus

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.utils import floatToGoString

from brain_tumor.model_card import ModelCard
from serving.errors import CODES, ServiceError
from serving.inference import WARNINGS, ImageResult, PreparedImage

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SHARES = tuple(tenth / 10 for tenth in range(1, 11))
STAGES = ("decode", "predictor", "render")
SIDES = (64, 128, 256, 512, 1024, 2048, 4096)


class Metrics:
    """The transformer's metrics, with the model card's buckets, so that live and reference shares are comparable.

    Every series exists at 0 before its first event: Prometheus sees no increase in a counter that appears with a failure.
    """

    def __init__(self, card: ModelCard, registry: CollectorRegistry = REGISTRY):
        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"brain_tumor_{name}", help_text, labels, registry=registry)

        def gauge(name: str, help_text: str) -> Gauge:
            return Gauge(f"brain_tumor_{name}", help_text, registry=registry)

        def histogram(name: str, help_text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"brain_tumor_{name}", help_text, labels, buckets=buckets, registry=registry)

        duration = "Request duration in seconds, headers to last byte."
        explain_duration = (
            "Duration of an explain in seconds, from the decoded request to the response; rejected ones do not count."
        )
        stage_duration = "Stage duration in seconds: decode and render per image, predictor per call."
        likeness = "Likeness of an image to the training images, 0-1; below 0.5 it is unlike them."
        availability = "Whether the last probe or call of the predictor succeeded: 1 or 0."
        self.requests = counter("requests", "Requests by route and status code.", "route", "code")
        self.request_seconds = histogram("request_seconds", duration, SECONDS, "route")
        self.explain_seconds = histogram("explain_seconds", explain_duration, SECONDS)
        self.stage_seconds = histogram("stage_seconds", stage_duration, SECONDS, "stage")
        self.predictions = counter("predictions", "Images by predicted label.", "label")
        self.rejected = counter("rejected", "Rejected or failed requests by error code.", "reason")
        self.warnings = counter("warnings", "Predictions with a warning, by reason.", "reason")
        self.in_flight = gauge("in_flight_requests", "Requests in flight.")
        self.predictor_available = gauge("predictor_available", availability)
        self.confidence = histogram("confidence", "Probability of the predicted class.", _bounds(card, "confidence", SHARES))
        self.in_distribution = histogram("in_distribution", likeness, _bounds(card, "in_distribution", SHARES))
        self.brightness = histogram("input_brightness", "Mean grey level, 0-1.", _bounds(card, "brightness", SHARES))
        self.side_pixels = histogram("input_side_pixels", "Longest image side in pixels.", _bounds(card, "side_pixels", SIDES))
        for label in card.classes:
            self.predictions.labels(label)
        for warning in WARNINGS:
            self.warnings.labels(warning)
        for code in CODES:
            self.rejected.labels(code)
        for stage in STAGES:
            self.stage_seconds.labels(stage)
        _describe(card, registry)

    def declare_routes(self, routes: Collection[str], statuses: Collection[str]) -> None:
        """Export the requests of each route with each status at 0."""
        for route in routes:
            self.request_seconds.labels(route)
            for status in statuses:
                self.requests.labels(route, status)

    def record_prediction(self, image: PreparedImage, result: ImageResult) -> None:
        """Count the prediction for one image."""
        self.predictions.labels(result.label).inc()
        self.confidence.observe(result.confidence)
        self.in_distribution.observe(result.in_distribution)
        self.brightness.observe(image.brightness)
        self.side_pixels.observe(image.side_px)
        for reason in result.warning_codes:
            self.warnings.labels(reason).inc()

    @contextlib.contextmanager
    def explain(self) -> Iterator[None]:
        """Measure the duration of an explain, even if it fails, but not if the request is rejected: that takes no time."""
        started, rejected = time.perf_counter(), False
        try:
            yield
        except ServiceError as error:
            rejected = error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
            raise
        finally:
            if not rejected:
                self.explain_seconds.observe(time.perf_counter() - started)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the duration of one stage, even if it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stage_seconds.labels(name).observe(time.perf_counter() - started)


def _describe(card: ModelCard, registry: CollectorRegistry) -> None:
    """Export the model's version and its drift reference."""
    info_help, reference_help = "Always 1; `version` is the served model version.", "Share of held-out images at or below `le`."
    Gauge("brain_tumor_model_info", info_help, ("version",), registry=registry).labels(card.version).set(1)
    reference = Gauge("brain_tumor_reference_share", reference_help, ("feature", "le"), registry=registry)
    for feature, histogram in card.reference.items():
        for bound, share in zip(histogram["le"], histogram["share"], strict=True):
            reference.labels(feature, floatToGoString(bound)).set(share)


def _bounds(card: ModelCard, feature: str, default: tuple[float, ...]) -> tuple[float, ...]:
    reference = card.reference.get(feature)
    return tuple(float(bound) for bound in reference["le"]) if reference else (*default, math.inf)
