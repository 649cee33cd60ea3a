"""A series and what the service answered about it, slice by slice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset

from brain_tumor.classes import TUMOR
from serving.dicomweb.source_image import Geometry, read_geometry, read_header
from serving.dicomweb.uids import ResultUids, result_uids


@dataclass(frozen=True)
class Slice:
    """One slice of the series.

    Attributes:
        number: Number of the slice in the order of the answer, from 1.
        header: What the results share with its instance, or refer to.
        frame: Number of its frame, from 1; None for an instance of one frame.
        geometry: Where it lies; None if its instance does not state it.
        prediction: Its entry in the answer.
    """

    number: int
    header: Dataset
    frame: int | None
    geometry: Geometry | None
    prediction: Mapping[str, Any]

    @property
    def probabilities(self) -> dict[str, float]:
        """Class -> probability: of a tumour alone for two classes, else of every class."""
        probability = self.prediction["probability"]
        return dict(probability) if isinstance(probability, Mapping) else {TUMOR: probability}


@dataclass(frozen=True)
class Heatmap:
    """The explanation of one slice.

    Attributes:
        of_slice: The slice.
        values: Heatmap over the whole image, float32 [h, w], 0-1.
        label: Class that it explains.
        overlay_png: Heatmap and image as displayed, a PNG in base64.
    """

    of_slice: Slice
    values: np.ndarray
    label: str
    overlay_png: str


@dataclass(frozen=True)
class AnalysedSeries:
    """A series and its results.

    Attributes:
        headers: What the results share with each instance, in the order in which the instances were sent.
        slices: The slices, in the order of the answer.
        highest: The explained slices, that with the highest probability first.
        answer: The JSON of `POST /series`.
        uids: UIDs of the results.
    """

    headers: tuple[Dataset, ...]
    slices: tuple[Slice, ...]
    highest: tuple[Heatmap, ...]
    answer: Mapping[str, Any]
    uids: ResultUids

    @property
    def key(self) -> tuple[str, str, str]:
        """Series Instance UID, model name and version, from which the results' UIDs are derived."""
        return self.headers[0].SeriesInstanceUID, self.model, self.version

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.answer["model"]["name"])

    @property
    def version(self) -> str:
        """Version of the model."""
        return str(self.answer["model"]["version"])


def match_answer(sources: Sequence[Dataset], answer: Mapping[str, Any]) -> AnalysedSeries:
    """Match the answer of `POST /series` with the instances that were sent.

    Args:
        sources: The instances, without pixels, in the order in which they were sent.
        answer: The JSON of the answer.

    Raises:
        ValueError: There is no instance or no slice, a slice is of an instance that was not sent, an instance lacks a UID, or
            the instances are of several series. The message has no value of an instance.
    """
    headers = tuple(read_header(source) for source in sources)
    series = {(header.StudyInstanceUID, header.SeriesInstanceUID) for header in headers}
    if len(series) != 1 or not answer["slices"]:
        raise ValueError(f"got {len(series)} series and {len(answer['slices'])} slices, expected one series and its slices")
    slices = []
    for number, prediction in enumerate(answer["slices"], 1):
        file, frame = prediction["file"], prediction["frame"]
        if not 0 <= file < len(headers):
            raise ValueError(f"slices[{number - 1}]: got file {file}, expected one of the {len(headers)} instances sent")
        slices.append(Slice(number, headers[file], frame, read_geometry(sources[file], frame), prediction))
    highest = tuple(
        Heatmap(
            of_slice=slices[entry["slice"]],
            values=np.array(entry["heatmap"]["values"], np.float32).reshape(entry["heatmap"]["shape"]),
            label=entry["heatmap"]["label"],
            overlay_png=entry["overlay_png"],
        )
        for entry in answer["highest"]
    )
    model = answer["model"]
    uids = result_uids(headers[0].SeriesInstanceUID, str(model["name"]), str(model["version"]))
    return AnalysedSeries(headers, tuple(slices), highest, answer, uids)
