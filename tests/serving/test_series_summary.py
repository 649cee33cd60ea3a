"""The order of slices, and the summary of them."""

from collections.abc import Sequence

import pytest

from serving.inference import ImageResult, PreparedImage, SliceFacts
from serving.series_summary import Slice, in_order, summarise

AXIAL = (0.0, 0.0, 1.0)
OBLIQUE = (0.0, 0.6, 0.8)
SAGITTAL = (1.0, 0.0, 0.0)


def slice_of(
    file: int,
    position_mm: float | None = None,
    number: int | None = None,
    *,
    normal: tuple[float, float, float] | None = AXIAL,
    probability: float = 0.0,
    frame: int = 1,
    is_dicom: bool = True,
) -> Slice:
    facts = SliceFacts(1, position_mm, None if position_mm is None else normal, number, "") if is_dicom else None
    result = ImageResult("tumor" if probability >= 0.5 else "no_tumor", [probability], probability, 1.0, False, [])
    return Slice(file, frame, probability, PreparedImage(b"", None, 0.5, 24, facts=facts), result)


def ordered(slices: Sequence[Slice]) -> tuple[str, list[int]]:
    """Return by what the slices are ordered, and the positions of their files, whichever was ready first."""
    order, in_their_order = in_order(slices)
    assert in_order(slices[::-1]) == (order, in_their_order)
    return order, [each.file for each in in_their_order]


def test_position_comes_first_then_instance_number_then_the_request() -> None:
    assert ordered([slice_of(0, 7.5, 1), slice_of(1, -2.0, 2), slice_of(2, 0.0, 3)]) == ("position", [1, 2, 0])
    assert ordered([slice_of(0, 7.5, 1), slice_of(1, None, -2), slice_of(2, 0.0, 0)]) == ("instance_number", [1, 2, 0])
    assert ordered([slice_of(0, 7.5, 1), slice_of(1, None, None), slice_of(2, 0.0, 3)]) == ("request", [0, 1, 2])
    assert ordered([slice_of(0, 7.5, 1), slice_of(1, is_dicom=False)]) == ("request", [0, 1])


def test_slices_of_one_position_are_ordered_by_instance_number_then_by_the_request() -> None:
    echoes = [slice_of(0, 2.0, 4), slice_of(1, 1.0, 3), slice_of(2, 2.0, 2), slice_of(3, 1.0, 1)]
    assert ordered(echoes) == ("position", [3, 1, 2, 0])
    assert ordered([slice_of(0, 2.0), slice_of(1, 2.0, 9), slice_of(2, 2.0)]) == ("position", [1, 0, 2])
    assert ordered([slice_of(0, None, 5), slice_of(1, None, 5), slice_of(2, None, 1)]) == ("instance_number", [2, 0, 1])


def test_positions_are_compared_along_one_normal_alone() -> None:
    assert ordered([slice_of(n, 3.0 - n, n, normal=OBLIQUE) for n in range(3)]) == ("position", [2, 1, 0])
    nearly = (0.0, 0.61, 0.7924)
    assert ordered([slice_of(0, 1.0, 1, normal=nearly), slice_of(1, 0.0, 2, normal=OBLIQUE)]) == ("position", [1, 0])
    for other in (SAGITTAL, (0.0, 0.0, -1.0)):  # a localizer, and a plane seen from behind
        assert ordered([slice_of(0, 1.0, 1), slice_of(1, 0.0, 2, normal=other)]) == ("instance_number", [0, 1])


@pytest.mark.parametrize(
    ("probabilities", "reaching", "longest", "first", "peak"),
    [
        ([0.1, 0.2, 0.4], 0, 0, None, 2),
        ([0.9], 1, 1, 0, 0),
        ([0.6, 0.1, 0.7, 0.8, 0.5, 0.4, 0.9, 0.9], 6, 3, 2, 6),
        ([0.6, 0.7, 0.1, 0.8, 0.9, 0.2], 4, 2, 0, 4),  # the first of two equally long runs
        ([1.0, 1.0, 1.0], 3, 3, 0, 0),
    ],
)
def test_summary(probabilities: list[float], reaching: int, longest: int, first: int | None, peak: int) -> None:
    slices = [slice_of(n, 2.5 * n, probability=probability) for n, probability in enumerate(probabilities)]
    assert summarise(slices, ("tumor",)) == {
        "slices": len(slices),
        "reaching_threshold": reaching,
        "longest_run": longest,
        "longest_run_first": first,
        "peak": {"slice": peak, "probability": probabilities[peak], "position_mm": 2.5 * peak},
    }


def test_peak_is_the_highest_slice_whatever_the_order() -> None:
    slices = in_order([slice_of(0, 5.0, probability=1.0), slice_of(1, 1.0, probability=1.0), slice_of(2, 0.0, probability=0.2)])[
        1
    ]
    assert summarise(slices, ("tumor",))["peak"] == {"slice": 2, "probability": 1.0, "position_mm": 5.0}
    assert min(slices, key=lambda each: each.rank).file == 0
