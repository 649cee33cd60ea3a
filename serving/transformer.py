"""The transformer: decodes the images of a request, calls the predictor, and renders the overlays if requested."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from kserve import InferRequest, InferResponse, Model
from kserve.model import InferenceVerb

from brain_tumor.images import ImageError, read_image
from brain_tumor.model_card import MIN_IN_DISTRIBUTION, ModelCard
from brain_tumor.overlay import MAX_OVERLAY_SIDE_PX, overlay_png, scale_image
from serving import v1, v2
from serving.errors import ServiceError
from serving.inference import ImageRequest, ImageResult, PreparedImage
from serving.metrics import Metrics
from serving.predictor_client import PredictorClient, RefusedImageError
from serving.settings import Settings

T = TypeVar("T")


class Transformer(Model):
    """KServe's model with its verbs. It keeps no state of a request."""

    def __init__(self, card: ModelCard, settings: Settings, metrics: Metrics):
        super().__init__(card.name)
        self.card = card
        self.predictor = PredictorClient(settings.predictor_host, card.name, settings.predictor_timeout_seconds)
        self._settings = settings
        self._metrics = metrics
        self._pixel_workers = ThreadPoolExecutor(settings.pixel_workers, "pixels")
        self._batch_slots = asyncio.Semaphore(settings.pixel_workers)
        self.ready = True

    async def __call__(
        self,
        body: ImageRequest | InferRequest,
        headers: dict[str, str] | None = None,
        verb: InferenceVerb = InferenceVerb.PREDICT,
    ) -> tuple[Any, dict[str, str]]:
        """Handle one request; the parameter `explain` of V2 and the signature of V1 select the verb.

        Raises:
            ServiceError: The request or one of its images is rejected, or the predictor fails.
        """
        request = v2.read_request(body) if isinstance(body, InferRequest) else body
        if request.explain is False and verb is InferenceVerb.EXPLAIN:
            raise ServiceError("bad_request", "signature_name: got `serving_default`, expected `explain` on this route")
        if request.explain or verb is InferenceVerb.EXPLAIN:
            request, verb = replace(request, explain=True), InferenceVerb.EXPLAIN
        # A batch keeps all of its images in memory until its response, so only a few run at a time.
        is_batch = len(request.encoded) > self._settings.pixel_workers
        async with self._batch_slots if is_batch else contextlib.nullcontext():
            return await super().__call__(request, headers, verb)

    async def is_available(self) -> bool:
        """Check that the predictor has loaded the version that model.json describes."""
        available = await self.predictor.is_available(self.card.version)
        self._metrics.predictor_available.set(available)
        return available

    def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": v2.TENSOR, "datatype": "BYTES", "shape": [-1]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [
            {"name": "probability", "datatype": "FP32", "shape": [-1, self._probability_columns]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "in_distribution", "datatype": "FP32", "shape": [-1]},
            {"name": "uncertain", "datatype": "BOOL", "shape": [-1]},
            {"name": "heatmap", "datatype": "FP32", "shape": [-1, -1, -1]},
            {"name": "overlay_png", "datatype": "BYTES", "shape": [-1]},
        ]

    async def preprocess(self, payload: ImageRequest, headers: Mapping[str, str] | None = None) -> ImageRequest:
        """Decode every image in full."""
        images = await self._run_on_workers(lambda index: self._decode_image(payload, index), len(payload.encoded))
        return replace(payload, images=tuple(images))

    async def predict(self, payload: ImageRequest, headers: Mapping[str, str] | None = None) -> ImageRequest:
        """Get the probabilities from the predictor."""
        return await self._call_predictor("serving_default", payload, headers or {})

    async def explain(self, payload: ImageRequest, headers: Mapping[str, str] | None = None) -> ImageRequest:
        """Get probabilities and heatmaps from the predictor, and render the overlays."""
        explained = await self._call_predictor("explain", payload, headers or {})
        results = await self._run_on_workers(lambda index: self._render(explained, index), len(explained.results))
        return replace(explained, results=tuple(results))

    async def postprocess(self, result: ImageRequest, headers: Mapping[str, str] | None = None) -> dict[str, Any] | InferResponse:
        """Record the predictions and return them in the protocol of the request."""
        for image, image_result in zip(result.images, result.results, strict=True):
            self._metrics.record_prediction(image, image_result)
        return v2.response(result, self.card, result.v2_request) if result.v2_request else v1.response(result, self.card)

    @property
    def _probability_columns(self) -> int:
        return 1 if self.card.threshold is not None else len(self.card.classes)

    def _decode_image(self, request: ImageRequest, index: int) -> PreparedImage:
        data, error_prefix = request.encoded[index], request.error_prefix(index)
        frame = request.frames[index] if request.frames else None
        limit = self._settings.max_file_bytes
        if len(data) > limit:
            raise ServiceError("too_large", f"{error_prefix}image file: got {len(data):,} bytes, expected at most {limit:,}")
        with self._metrics.stage("decode"):
            try:
                image = read_image(data, self._settings.max_pixels, frame)
            except ImageError as error:
                raise ServiceError(error.code, f"{error_prefix}{error}") from error
            scaled = scale_image(image.image, MAX_OVERLAY_SIDE_PX) if request.explain else None
            return PreparedImage(image.data, scaled, image.brightness, max(image.width_px, image.height_px))

    async def _call_predictor(self, signature: str, request: ImageRequest, headers: Mapping[str, str]) -> ImageRequest:
        try:
            with self._metrics.stage("predictor"):
                rows = await self.predictor.predict(signature, [image.data for image in request.images], headers)
        except RefusedImageError as error:
            self._metrics.predictor_available.set(1)
            message = f"{request.error_prefix(error.index)}the model cannot decode the image; export it again as PNG"
            raise ServiceError("corrupt", message) from None
        except ServiceError:
            self._metrics.predictor_available.set(0)
            raise
        self._metrics.predictor_available.set(1)
        return replace(request, results=tuple(self._parse_row(row) for row in rows))

    def _parse_row(self, row: dict[str, Any]) -> ImageResult:
        try:
            label, probability = str(row["label"]), [float(value) for value in row["probability"]]
            # An early model has at most the first of these outputs.
            in_distribution, uncertain = float(row.get("in_distribution", 1)), bool(row.get("uncertain", False))
        except (KeyError, TypeError, ValueError):
            label, probability, in_distribution, uncertain = "", [], 1.0, False
        if label not in self.card.classes or len(probability) != self._probability_columns:
            raise ServiceError("predictor_failed", "the predictor does not serve the model that model.json describes")
        warnings = {
            "synthetic_model": self.card.synthetic,
            "unlike_training": in_distribution < MIN_IN_DISTRIBUTION,
            "uncertain": uncertain,
        }
        return ImageResult(
            label,
            probability,
            self.card.probabilities(probability)[label],
            in_distribution,
            uncertain,
            [code for code, applies in warnings.items() if applies],
            row.get("heatmap"),
        )

    def _render(self, request: ImageRequest, index: int) -> ImageResult:
        result, scaled = request.results[index], request.images[index].scaled
        try:
            heatmap = np.array(result.heatmap, np.float32)
        except (TypeError, ValueError):
            heatmap = np.zeros(0, np.float32)
        if heatmap.ndim != 2 or heatmap.size == 0 or scaled is None:
            raise ServiceError("predictor_failed", "the predictor returned no heatmap")
        with self._metrics.stage("render"):
            return replace(result, overlay=overlay_png(scaled, heatmap, colour_map=self._settings.colour_map))

    async def _run_on_workers(self, work: Callable[[int], T], count: int) -> list[T]:
        """Run work(0), work(1), ... on the pixel workers; the first error cancels the rest."""
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(self._pixel_workers, work, index) for index in range(count)]
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:
                future.cancel()
