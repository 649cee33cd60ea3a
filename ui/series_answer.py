"""The service's answer for a series of slices."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from brain_tumor.classes import NO_TUMOR


@dataclass(frozen=True)
class SeriesSlice:
    """The prediction for one slice of a series. Numbers are unrounded.

    Attributes:
        file: Number of its file among those that were sent, from 0; in a zip, among the members that are files.
        frame: Number of the image in a file with several, from 1.
        position_mm: Position along the normal of the slices; None if the file does not state it.
        label, probability, confidence, in_distribution, uncertain, warning_codes: As in `ui.client.Prediction`.
    """

    file: int
    frame: int | None
    position_mm: float | None
    label: str
    probability: float | dict[str, float]
    confidence: float
    in_distribution: float | None
    uncertain: bool | None
    warning_codes: tuple[str, ...]

    @property
    def tumor_probability(self) -> float:
        """Probability of any tumour."""
        if not isinstance(self.probability, dict):
            return self.probability
        return sum(value for label, value in self.probability.items() if label != NO_TUMOR)


@dataclass(frozen=True)
class SeriesAnswer:
    """The predictions for the slices of a series, in their order. Indices of slices begin at 0.

    Attributes:
        version: Version of the model.
        threshold: Threshold on the probability of a tumour; None above two classes.
        explanation: Method of the heatmaps.
        order: How the slices were put in order: `position`, `instance_number` or `request`.
        slices: The slices.
        heatmaps: Heatmap, float32 [h, w], 0-1, by slice, of those with the highest probability, the highest first.
        reaching_threshold: Number of slices whose label is a tumour.
        longest_run: Number of neighbouring slices that all have such a label, at most.
        longest_run_first: First slice of that run; None if there is none.
        peak: Slice with the highest probability.
        warnings: Reasons not to rely on the predictions, as sentences.
        warning_codes: Code of each of `warnings`.
    """

    version: str
    threshold: float | None
    explanation: str
    order: str
    slices: tuple[SeriesSlice, ...]
    heatmaps: dict[int, np.ndarray]
    reaching_threshold: int
    longest_run: int
    longest_run_first: int | None
    peak: int
    warnings: tuple[str, ...]
    warning_codes: tuple[str, ...]


def parse_series(document: Any) -> SeriesAnswer:
    """Parse the JSON of a response.

    Raises:
        IndexError, KeyError, TypeError, ValueError: It is no answer for a series.
    """
    slices, summary = tuple(map(_parse_slice, document["slices"])), document["summary"]
    heatmaps = {each["slice"]: parse_heatmap(each["heatmap"]) for each in document["highest"]}
    peak, first, run = summary["peak"]["slice"], summary["longest_run_first"], summary["longest_run"]
    for index in (*heatmaps, peak, *([first, first + run - 1] if run else [])):
        if not 0 <= index < len(slices):
            raise IndexError(f"got slice {index}, expected 0 to {len(slices) - 1}")
    return SeriesAnswer(
        version=str(document["model"]["version"]),
        threshold=document["threshold"],
        explanation=str(document["explanation"]),
        order=str(document["order"]),
        slices=slices,
        heatmaps=heatmaps,
        reaching_threshold=int(summary["reaching_threshold"]),
        longest_run=int(run),
        longest_run_first=first,
        peak=peak,
        warnings=tuple(document["warnings"]),
        warning_codes=tuple(map(str, document["warning_codes"])),
    )


def parse_heatmap(heatmap: Any) -> np.ndarray:
    """Return a heatmap of a response, float32 [h, w], 0-1."""
    return np.array(heatmap["values"], np.float32).reshape(heatmap["shape"])


def _parse_slice(document: Any) -> SeriesSlice:
    return SeriesSlice(
        file=int(document["file"]),
        frame=document["frame"],
        position_mm=document["position_mm"],
        label=str(document["label"]),
        probability=document["probability"],
        confidence=document["confidence"],
        in_distribution=document["in_distribution"],
        uncertain=document["uncertain"],
        warning_codes=tuple(map(str, document["warning_codes"])),
    )
