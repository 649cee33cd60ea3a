"""Classify the slices of one series while its files are received."""

import asyncio
from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from brain_tumor.dicom import is_dicom
from brain_tumor.model_card import NOTICE
from serving import v1
from serving.errors import ServiceError
from serving.inference import WARNINGS, ImageRequest, ImageResult
from serving.series_summary import Rank, Slice, in_order, summarise
from serving.settings import MAX_HIGHEST, MAX_SLICES
from serving.transformer import Transformer

LARGE_IMAGE_BYTES = 4 * 1024 * 1024  # encoded; slices of MRI are smaller
PREDICTION = ("label", "probability", "confidence", "in_distribution", "uncertain", "warning_codes")
EXPLANATION = ("heatmap", "overlay_png")


@dataclass
class Candidate:
    """A slice that may be among the highest.

    Attributes:
        slice: The slice.
        request: The request to explain it, with its image; None once it is explained.
        result: The explanation; None until then.
    """

    slice: Slice
    request: ImageRequest | None
    result: ImageResult | None = None

    @property
    def rank(self) -> Rank:
        return self.slice.rank


class Series:
    """The slices of one request.

    In memory are as many files as are worked on at a time, and the encoded 8-bit images of the slices that may still be among
    the highest. Of the others there are the predictions alone.

    Args:
        transformer: Decodes, classifies and explains each slice.
        headers: Those of the client's request.

    Attributes:
        highest: How many slices to explain; at most `MAX_HIGHEST`, until the client says it.
    """

    def __init__(self, transformer: Transformer, headers: Mapping[str, str]):
        at_a_time = 2 * transformer.workers  # while some are decoded, the predictor works on the others
        self.highest = MAX_HIGHEST
        self._transformer, self._headers = transformer, headers
        self._files, self._slots = asyncio.Semaphore(at_a_time), asyncio.Semaphore(at_a_time)
        self._slices: list[Slice] = []
        self._candidates: list[Candidate] = []
        self._count = 0

    async def wait_for_room(self) -> None:
        """Wait until one more file may be in memory."""
        await self._files.acquire()

    async def add_file(self, number: int, data: bytes) -> None:
        """Classify the slices of a file, for which there is room.

        Args:
            number: Position of the file in the request, from 0.
            data: The file.

        Raises:
            ServiceError: As for the image of /predict, or `too_many_slices`.
        """
        self._expect(1)
        request = ImageRequest([data], False, "file", (1,) if is_dicom(data) else (), first=number)
        frames = await self._classify(request, 1)
        self._expect(frames - 1)
        async with asyncio.TaskGroup() as tasks:
            for frame in range(2, frames + 1):
                tasks.create_task(self._classify(replace(request, frames=(frame,)), frame))
        self._files.release()

    async def finish(self) -> dict[str, Any]:
        """Explain the highest slices, record all predictions, and return the answer.

        Raises:
            ServiceError: `wrong_shape` (no slices) or `several_series`.
        """
        if not self._slices:
            raise ServiceError("wrong_shape", "file: got no files, expected the slices of a series, or a zip of them")
        series = {each.image.facts.series for each in self._slices if each.image.facts and each.image.facts.series}
        if len(series) > 1:
            raise ServiceError("several_series", f"file: got slices of {len(series)} series, expected those of one")
        del self._candidates[self.highest :]
        async with asyncio.TaskGroup() as tasks:
            for candidate in self._candidates:
                tasks.create_task(self._explain_in_slot(candidate))
        for each in self._slices:
            self._transformer.record(each.image, each.result)
        return self._answer()

    def _expect(self, slices: int) -> None:
        self._count += slices
        if self._count > MAX_SLICES:
            raise ServiceError("too_many_slices", f"file: got {self._count} slices or more, expected at most {MAX_SLICES}")

    async def _classify(self, request: ImageRequest, frame: int) -> int:
        """Classify one slice, and return the number of images in its file."""
        async with self._slots:
            done = await self._transformer.predict(await self._transformer.preprocess(request), self._headers)
            image, result = done.images[0], done.results[0]
            probabilities = self._transformer.card.probabilities(result.probability)
            of_tumor = sum(probabilities[name] for name in self._transformer.card.tumor_classes)
            found = Slice(request.first, frame, of_tumor, replace(image, data=b""), result)
            self._slices.append(found)
            await self._keep(Candidate(found, ImageRequest([image.data], True, "file", first=request.first)))
        return found.frames

    async def _keep(self, candidate: Candidate) -> None:
        """Keep a slice while it is among the highest so far; a large one is explained at once, which frees its image."""
        insort(self._candidates, candidate, key=lambda each: each.rank)
        del self._candidates[self.highest :]
        is_large = candidate.request is not None and len(candidate.request.encoded[0]) > LARGE_IMAGE_BYTES
        if is_large and candidate in self._candidates:
            await self._explain(candidate)

    async def _explain_in_slot(self, candidate: Candidate) -> None:
        async with self._slots:
            await self._explain(candidate)

    async def _explain(self, candidate: Candidate) -> None:
        if candidate.request is not None:
            opened = await self._transformer.preprocess(candidate.request)
            done = await self._transformer.explain(opened, self._headers)
            candidate.request, candidate.result = None, done.results[0]

    def _answer(self) -> dict[str, Any]:
        card = self._transformer.card
        order, slices = in_order(self._slices)
        index = {each.rank: number for number, each in enumerate(slices)}
        codes = list(dict.fromkeys(code for each in slices for code in each.result.warning_codes))
        highest = [(index[each.rank], each.result) for each in self._candidates if each.result]
        return {
            "model": {"name": card.name, "version": card.version},
            "threshold": card.threshold,
            "explanation": card.explanation,
            "notice": NOTICE,
            "order": order,
            "slices": [each.describe() | _only(PREDICTION, v1.prediction(each.result, card)) for each in slices],
            "highest": [{"slice": slice} | _only(EXPLANATION, v1.prediction(result, card)) for slice, result in highest],
            "summary": summarise(slices, card.tumor_classes),
            "warnings": [WARNINGS[code] for code in codes],
            "warning_codes": codes,
        }


def _only(fields: tuple[str, ...], prediction: dict[str, Any]) -> dict[str, Any]:
    return {field: prediction[field] for field in fields}
