"""What Prometheus is told. Labels come from fixed sets, never from what a client sent."""

import contextlib
import math
import time
from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.utils import floatToGoString

from brain_tumor.model_card import ModelCard
from serving.inference import WARNINGS, ImageResult, PreparedImage

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SHARES = tuple(tenth / 10 for tenth in range(1, 11))
SIDES = (64, 128, 256, 512, 1024, 2048, 4096)


class Metrics:
    """The transformer's metrics, with the model's own buckets so that live and reference shares compare bucket by bucket."""

    def __init__(self, card: ModelCard, registry: CollectorRegistry = REGISTRY):
        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"brain_tumor_{name}", what, labels, registry=registry)

        def histogram(name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"brain_tumor_{name}", what, labels, buckets=buckets, registry=registry)

        self.requests = counter("requests", "Requests by route and status code.", "route", "code")
        self.request_seconds = histogram("request_seconds", "From the headers to the last byte.", SECONDS, "route")
        self.stage_seconds = histogram("stage_seconds", "Decode and render: an image; predictor: a call.", SECONDS, "stage")
        self.predictions = counter("predictions", "Images by the label they got.", "label")
        self.rejected = counter("rejected", "Requests without an answer, by the error's code.", "reason")
        self.warnings = counter("warnings", "Images answered with a warning.", "reason")
        self.in_flight = Gauge("brain_tumor_in_flight_requests", "Requests at work.", registry=registry)
        available = "Whether the predictor answered the last probe or call: 1 or 0."
        self.predictor_available = Gauge("brain_tumor_predictor_available", available, registry=registry)
        self.confidence = histogram("confidence", "The called class's probability.", _bounds(card, "confidence", SHARES))
        self.brightness = histogram("input_brightness", "Mean grey level, 0-1.", _bounds(card, "brightness", SHARES))
        self.side_pixels = histogram("input_side_pixels", "Longest side.", _bounds(card, "side_pixels", SIDES))
        self._describe(card, registry)
        for label in card.classes:
            self.predictions.labels(label)
        for reason in WARNINGS:
            self.warnings.labels(reason)

    def _describe(self, card: ModelCard, registry: CollectorRegistry) -> None:
        info = Gauge("brain_tumor_model_info", "1; the version behind this service.", ("version",), registry=registry)
        info.labels(card.version).set(1)
        share = Gauge("brain_tumor_reference_share", "Held-out images at or below `le`.", ("feature", "le"), registry=registry)
        for feature, histogram in card.reference.items():
            for bound, value in zip(histogram["le"], histogram["share"], strict=True):
                share.labels(feature, floatToGoString(bound)).set(value)

    def record_prediction(self, image: PreparedImage, result: ImageResult) -> None:
        """Count one image with what the model said of it."""
        self.predictions.labels(result.label).inc()
        self.confidence.observe(result.confidence)
        self.brightness.observe(image.brightness)
        self.side_pixels.observe(image.side_px)
        for reason in result.warnings:
            self.warnings.labels(reason).inc()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage, also where it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stage_seconds.labels(name).observe(time.perf_counter() - started)


def _bounds(card: ModelCard, feature: str, otherwise: tuple[float, ...]) -> tuple[float, ...]:
    reference = card.reference.get(feature)
    return tuple(float(bound) for bound in reference["le"]) if reference else (*otherwise, math.inf)
