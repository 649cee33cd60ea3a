"""The transformer: pictures in, an answer of the model for each, with its heatmap and overlay where asked for."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from kserve import InferRequest, InferResponse, Model
from kserve.model import InferenceVerb

from brain_tumor.images import PictureError, read_picture
from brain_tumor.model_card import ModelCard
from brain_tumor.overlay import MAX_SIDE_PX, overlay_png, scale_picture
from serving import v1, v2
from serving.errors import ServiceError
from serving.inference import Answer, Call, Prepared
from serving.metrics import Metrics
from serving.predictor_client import PredictorClient
from serving.settings import Settings

IN_DISTRIBUTION = 0.5
T = TypeVar("T")


class Transformer(Model):
    """KServe's verbs: decode every picture, ask the predictor, render. Nothing of a request is kept on the object."""

    def __init__(self, card: ModelCard, settings: Settings, metrics: Metrics):
        super().__init__(card.name)
        self.card = card
        self.predictor = PredictorClient(settings.predictor_host, card.name, settings.predictor_timeout_seconds)
        self._settings = settings
        self._metrics = metrics
        self._pixel_workers = ThreadPoolExecutor(settings.pixel_workers, "pixels")
        self._lists = asyncio.Semaphore(settings.pixel_workers)
        self.ready = True

    async def __call__(
        self, body: Call | InferRequest, headers: dict[str, str] | None = None, verb: InferenceVerb = InferenceVerb.PREDICT
    ) -> tuple[Any, dict[str, str]]:
        """Answer one request; a V2 request's parameter `explain` chooses the verb.

        Raises:
            ServiceError: the request or a picture in it is refused, or the predictor does not answer.
        """
        call = v2.read_request(body) if isinstance(body, InferRequest) else body
        if call.explain or verb is InferenceVerb.EXPLAIN:
            call, verb = replace(call, explain=True), InferenceVerb.EXPLAIN
        # A list holds all of its pictures in memory until it is answered, so few are at work at a time.
        several = len(call.encoded) > self._settings.pixel_workers
        async with self._lists if several else contextlib.nullcontext():
            return await super().__call__(call, headers, verb)

    async def is_available(self) -> bool:
        """Tell whether the predictor has loaded the version that model.json describes."""
        available = await self.predictor.is_available(self.card.version)
        self._metrics.predictor_available.set(available)
        return available

    def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": v2.TENSOR, "datatype": "BYTES", "shape": [-1]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        columns = 1 if self.card.threshold is not None else len(self.card.classes)
        return [
            {"name": "probability", "datatype": "FP32", "shape": [-1, columns]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "heatmap", "datatype": "FP32", "shape": [-1, -1, -1]},
            {"name": "overlay_png", "datatype": "BYTES", "shape": [-1]},
        ]

    async def preprocess(self, payload: Call, headers: Mapping[str, str] | None = None) -> Call:
        """Decode every picture in full."""
        pictures = await self._off_the_loop(lambda index: self._prepare(payload, index), len(payload.encoded))
        return replace(payload, pictures=tuple(pictures))

    async def predict(self, payload: Call, headers: Mapping[str, str] | None = None) -> Call:
        """Ask for the probabilities."""
        return await self._ask("serving_default", payload, headers or {})

    async def explain(self, payload: Call, headers: Mapping[str, str] | None = None) -> Call:
        """Ask for the probabilities and heatmaps, and render the overlays."""
        asked = await self._ask("explain", payload, headers or {})
        answers = await self._off_the_loop(lambda index: self._render(asked, index), len(asked.answers))
        return replace(asked, answers=tuple(answers))

    async def postprocess(self, result: Call, headers: Mapping[str, str] | None = None) -> dict[str, Any] | InferResponse:
        """Count the answers and put them into the form of the request."""
        for picture, answer in zip(result.pictures, result.answers, strict=True):
            self._metrics.count_answer(picture, answer)
        return v2.response(result, self.card, result.request) if result.request else v1.response(result, self.card)

    def _prepare(self, call: Call, index: int) -> Prepared:
        data, place = call.encoded[index], call.place(index)
        if len(data) > self._settings.max_file_bytes:
            limit = self._settings.max_file_bytes
            raise ServiceError("too_large", f"{place}the picture has {len(data):,} bytes, the limit is {limit:,}")
        with self._metrics.stage("decode"):
            try:
                picture = read_picture(data, self._settings.max_pixels)
            except PictureError as error:
                raise ServiceError(error.code, f"{place}{error}") from error
            scaled = scale_picture(picture.image, MAX_SIDE_PX) if call.explain else None
            return Prepared(picture.data, scaled, picture.brightness, max(picture.width_px, picture.height_px))

    async def _ask(self, signature: str, call: Call, headers: Mapping[str, str]) -> Call:
        try:
            with self._metrics.stage("predictor"):
                rows = await self.predictor.ask(signature, [picture.data for picture in call.pictures], headers)
        except ServiceError:
            self._metrics.predictor_available.set(0)
            raise
        self._metrics.predictor_available.set(1)
        return replace(call, answers=tuple(self._answer(row) for row in rows))

    def _answer(self, row: dict[str, Any]) -> Answer:
        columns = 1 if self.card.threshold is not None else len(self.card.classes)
        try:
            label, probability = str(row["label"]), [float(value) for value in row["probability"]]
            in_distribution = float(row.get("in_distribution", 1))
        except (KeyError, TypeError, ValueError):
            label, probability, in_distribution = "", [], 1.0
        if label not in self.card.classes or len(probability) != columns:
            raise ServiceError("predictor_failed", "the predictor serves another model than model.json describes")
        warnings = ["synthetic_model"] if self.card.synthetic else []
        if in_distribution < IN_DISTRIBUTION:
            warnings.append("unlike_training")
        return Answer(label, probability, self.card.probabilities(probability)[label], warnings, row.get("heatmap"))

    def _render(self, call: Call, index: int) -> Answer:
        answer, scaled = call.answers[index], call.pictures[index].scaled
        try:
            heatmap = np.array(answer.heatmap, np.float32)
        except (TypeError, ValueError):
            heatmap = np.zeros(0, np.float32)
        if heatmap.ndim != 2 or heatmap.size == 0 or scaled is None:
            raise ServiceError("predictor_failed", "the predictor gave no heatmap")
        with self._metrics.stage("render"):
            return replace(answer, overlay=overlay_png(scaled, heatmap, colour_map=self._settings.colour_map))

    async def _off_the_loop(self, work: Callable[[int], T], count: int) -> list[T]:
        """Run work(0), work(1), ... on the pixel workers; the first error ends it."""
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(self._pixel_workers, work, index) for index in range(count)]
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:
                future.cancel()
