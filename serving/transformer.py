"""The transformer: decodes the images of a request, calls the predictor, and renders the overlays if requested."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from kserve import InferRequest, InferResponse, Model
from kserve.model import InferenceVerb

from brain_tumor.container import usable_cores
from brain_tumor.dicom import DicomImage
from brain_tumor.errors import ImageError
from brain_tumor.images import OpenedDicom, OpenedImage, open_image
from brain_tumor.model_card import MIN_IN_DISTRIBUTION, ModelCard
from brain_tumor.overlay import MAX_OVERLAY_SIDE_PX, overlay_png, scale_image
from serving import v1, v2
from serving.errors import ServiceError
from serving.inference import ImageRequest, ImageResult, PreparedImage, SliceFacts
from serving.metrics import Metrics
from serving.predictor_client import PredictorClient, RefusedImageError
from serving.settings import Settings

SMALL_FILE_BYTES, SMALL_PIXELS = 64 * 1024, 1_000_000
T = TypeVar("T")


class Transformer(Model):
    """KServe's model with its verbs. It keeps no state of a request.

    Attributes:
        workers: Number of images that are decoded or rendered at a time.
    """

    def __init__(self, card: ModelCard, settings: Settings, metrics: Metrics):
        super().__init__(card.name)
        self.card = card
        self.predictor = PredictorClient(settings.predictor_host, card.name, settings.predictor_timeout_seconds)
        self._settings = settings
        self._metrics = metrics
        self.workers = settings.pixel_workers or usable_cores()
        self._pixel_workers = ThreadPoolExecutor(self.workers, "pixels")
        self._batch_slots = asyncio.Semaphore(self.workers)
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
        is_batch = len(request.encoded) > self.workers
        with self._metrics.explain() if request.explain else contextlib.nullcontext():
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
        """Read the header of every image."""
        opened = await self._run_on_workers(
            lambda index: self._open_image(payload, index), len(payload.encoded), here=_is_small(payload)
        )
        return replace(payload, opened=tuple(opened))

    async def predict(self, payload: ImageRequest, headers: Mapping[str, str] | None = None) -> ImageRequest:
        """Get the probabilities from the predictor."""
        return await self._decode_and_predict("serving_default", payload, headers or {})

    async def explain(self, payload: ImageRequest, headers: Mapping[str, str] | None = None) -> ImageRequest:
        """Get probabilities and heatmaps from the predictor, and render the overlays."""
        explained = await self._decode_and_predict("explain", payload, headers or {})
        results = await self._run_on_workers(lambda index: self._render(explained, index), len(explained.results))
        return replace(explained, results=tuple(results))

    async def postprocess(self, result: ImageRequest, headers: Mapping[str, str] | None = None) -> dict[str, Any] | InferResponse:
        """Record the predictions and return them in the protocol of the request."""
        for image, image_result in zip(result.images, result.results, strict=True):
            self.record(image, image_result)
        return v2.response(result, self.card, result.v2_request) if result.v2_request else v1.response(result, self.card)

    def record(self, image: PreparedImage, result: ImageResult) -> None:
        """Add the warnings of the image to its prediction, and count it."""
        result.warning_codes.extend(image.warning_codes)
        self._metrics.record_prediction(image, result)

    def request_context(self, headers: Mapping[str, str]) -> contextlib.AbstractContextManager[None]:
        """Return the context of the work on one request: without traces an empty one."""
        return contextlib.nullcontext()

    @property
    def _probability_columns(self) -> int:
        return 1 if self.card.threshold is not None else len(self.card.classes)

    def _open_image(self, request: ImageRequest, index: int) -> OpenedImage | OpenedDicom:
        data, error_prefix = request.encoded[index], request.error_prefix(index)
        limit = self._settings.max_file_bytes
        if len(data) > limit:
            raise ServiceError("too_large", f"{error_prefix}image file: got {len(data):,} bytes, expected at most {limit:,}")
        with _image_errors(error_prefix):
            return open_image(data, self._settings.max_pixels, request.frames[index] if request.frames else None)

    def _decode_image(self, request: ImageRequest, index: int) -> PreparedImage:
        with self._metrics.stage("decode"), _image_errors(request.error_prefix(index)):
            image = request.opened[index].decode(reduced=not request.explain)
            scaled = scale_image(image.image, MAX_OVERLAY_SIDE_PX) if request.explain else None
            warning_codes = image.dicom.warnings if image.dicom else ()
            facts = _facts(image.dicom) if image.dicom else None
            return PreparedImage(image.data, scaled, image.brightness, max(image.width_px, image.height_px), warning_codes, facts)

    async def _decode_images(self, request: ImageRequest) -> ImageRequest:
        first = request.opened[0]  # a DICOM file would keep this thread waiting for the process that reads it
        here = _is_small(request) and isinstance(first, OpenedImage) and first.pixels <= SMALL_PIXELS
        images = await self._run_on_workers(lambda index: self._decode_image(request, index), len(request.opened), here=here)
        return replace(request, images=tuple(images))

    async def _decode_and_predict(self, signature: str, request: ImageRequest, headers: Mapping[str, str]) -> ImageRequest:
        """Decode the images, which checks all of their data, and get the results of the predictor.

        A single image that passes unchanged is decoded while the predictor works on it. In a batch, or in TensorFlow Serving's
        batches of several requests, one that does not decode would fail the others.
        """
        passing = request.opened[0].passing if len(request.opened) == 1 else None
        if passing is None:
            decoded = await self._decode_images(request)
            return await self._call_predictor(signature, decoded, [image.data for image in decoded.images], headers)
        calling = asyncio.create_task(self._call_predictor(signature, request, [passing], headers))
        calling.add_done_callback(lambda task: task.cancelled() or task.exception())  # marks it as seen
        try:
            await asyncio.sleep(0)  # the request is sent before this thread decodes a small image
            decoded = await self._decode_images(request)
            return replace(await calling, images=decoded.images)
        finally:
            calling.cancel()

    async def _call_predictor(
        self, signature: str, request: ImageRequest, encoded: list[bytes], headers: Mapping[str, str]
    ) -> ImageRequest:
        try:
            with self._metrics.stage("predictor"):
                rows = await self.predictor.predict(signature, encoded, headers)
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

    async def _run_on_workers(self, work: Callable[[int], T], count: int, *, here: bool = False) -> list[T]:
        """Run work(0), work(1), ... on the pixel workers, or in this thread; the first error cancels the rest."""
        if here:
            return [work(index) for index in range(count)]
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(self._pixel_workers, work, index) for index in range(count)]
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:
                future.cancel()


def _facts(image: DicomImage) -> SliceFacts:
    series = next((identity for identity in image.identity if identity.startswith("series ")), "")
    return SliceFacts(image.frames, image.position_mm, image.normal, image.instance_number, series)


def _is_small(request: ImageRequest) -> bool:
    """Check for a single small file, which is read in less time than a change of threads takes."""
    return len(request.encoded) == 1 and len(request.encoded[0]) <= SMALL_FILE_BYTES


@contextlib.contextmanager
def _image_errors(prefix: str) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        raise ServiceError(error.code, f"{prefix}{error}") from error
