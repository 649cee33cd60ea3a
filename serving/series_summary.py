"""The order of a series's slices, and what can be said of them together. It is about slices, not about a patient."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf
from typing import Any, Literal

import numpy as np

from serving.inference import ImageResult, PreparedImage

MIN_COSINE = 0.999  # of the angle between parallel normals: 2.6 degrees
Order = Literal["position", "instance_number", "request"]
Rank = tuple[float, int, int]


@dataclass(frozen=True)
class Slice:
    """One slice and its prediction.

    Attributes:
        file: Position of its file in the request, from 0.
        frame: Number of the image in the file, from 1.
        tumor_probability: Probability of a tumour of any class, 0-1.
        image: What was measured and read of the image, without its bytes.
        result: The prediction.
    """

    file: int
    frame: int
    tumor_probability: float
    image: PreparedImage
    result: ImageResult

    @property
    def rank(self) -> Rank:
        """Sort key: the highest probability of a tumour first, then the order of the request."""
        return -self.tumor_probability, self.file, self.frame

    @property
    def frames(self) -> int:
        """Number of images in the file."""
        return self.image.facts.frames if self.image.facts else 1

    @property
    def position_mm(self) -> float | None:
        return self.image.facts.position_mm if self.image.facts else None

    @property
    def normal(self) -> tuple[float, float, float] | None:
        return self.image.facts.normal if self.image.facts else None

    @property
    def instance_number(self) -> int | None:
        return self.image.facts.instance_number if self.image.facts else None

    def describe(self) -> dict[str, Any]:
        """Return where the slice is in the request and in the patient."""
        return {
            "file": self.file,
            "frame": self.frame if self.frames > 1 else None,
            "position_mm": self.position_mm,
            "instance_number": self.instance_number,
        }


def in_order(slices: Collection[Slice]) -> tuple[Order, list[Slice]]:
    """Sort slices by their position, if each has one along the same normal; else by instance number, if each has one.

    Slices of equal position, such as those of several echoes, are in the order of their instance numbers; else slices are in
    the order of the request.
    """
    slices = sorted(slices, key=lambda each: (each.file, each.frame))
    numbers = [each.instance_number for each in slices]
    if all(each.position_mm is not None for each in slices) and _are_parallel([each.normal for each in slices]):
        by_number = {each.rank: inf if number is None else number for each, number in zip(slices, numbers, strict=True)}
        return "position", sorted(slices, key=lambda each: (each.position_mm or 0.0, by_number[each.rank]))
    if None not in numbers:
        return "instance_number", sorted(slices, key=lambda each: each.instance_number or 0)
    return "request", slices


def summarise(slices: Sequence[Slice], tumor_classes: Collection[str]) -> dict[str, Any]:
    """Count the slices in their order that reach the threshold, which are those whose label is a tumour.

    Args:
        slices: At least one slice.
        tumor_classes: The labels that are a tumour.
    """
    reaching = [each.result.label in tumor_classes for each in slices]
    runs = [[index for index, _ in run] for reaches, run in groupby(enumerate(reaching), lambda each: each[1]) if reaches]
    longest = max(runs, key=len, default=[])  # the first of equally long ones
    peak = min(range(len(slices)), key=lambda index: slices[index].rank)
    return {
        "slices": len(slices),
        "reaching_threshold": sum(reaching),
        "longest_run": len(longest),
        "longest_run_first": longest[0] if longest else None,
        "peak": {
            "slice": peak,
            "probability": slices[peak].tumor_probability,
            "position_mm": slices[peak].position_mm,
        },
    }


def _are_parallel(normals: Sequence[tuple[float, float, float] | None]) -> bool:
    """Check that unit normals point the same way: positions along different normals cannot be compared."""
    vectors = np.array(normals, np.float64)
    return bool((vectors @ vectors[0] >= MIN_COSINE).all())
