"""The brain in a slice."""

import numpy as np
import pytest

from brain_tumor.brain_crop import brain_crop


def slice_with_brain(rows: slice, columns: slice, *, shape: tuple[int, int] = (200, 160)) -> np.ndarray:
    """Return a dark image with a bright ellipse that touches the four sides of a rectangle, uint8 [h, w]."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    height, width = rows.stop - rows.start, columns.stop - columns.start
    inside = ((y - rows.start - height / 2) / (height / 2)) ** 2 + ((x - columns.start - width / 2) / (width / 2)) ** 2 < 1
    return np.where(inside, 150, 3).astype(np.uint8)


def test_crop_is_the_bounding_box_of_the_brain() -> None:
    rows, columns = brain_crop(slice_with_brain(slice(30, 170), slice(20, 120)))
    for part, expected in ((rows, (30, 170)), (columns, (20, 120))):
        assert (part.start, part.stop) == pytest.approx(expected, abs=2)


def test_noise_and_a_small_marker_do_not_widen_the_crop() -> None:
    grey = slice_with_brain(slice(30, 170), slice(20, 120))
    expected = brain_crop(grey)
    grey = grey + np.random.default_rng(0).integers(0, 18, grey.shape, dtype=np.uint8)
    grey[5:8, 150:153] = 255
    assert brain_crop(grey) == expected


def test_crop_does_not_depend_on_exposure_or_type() -> None:
    grey = slice_with_brain(slice(30, 170), slice(20, 120))
    assert brain_crop(grey) == brain_crop(grey // 3) == brain_crop(grey.astype(np.float32) / 255)


@pytest.mark.parametrize(
    "grey",
    [
        np.zeros((90, 70), np.uint8),
        np.full((90, 70), 200, np.uint8),
        np.full((1, 1), 7, np.uint8),
        slice_with_brain(slice(80, 115), slice(20, 120)),
        slice_with_brain(slice(30, 170), slice(60, 88)),
    ],
    ids=["black", "white", "one pixel", "too low", "too narrow"],
)
def test_crop_below_a_fifth_of_a_side_is_the_whole_image(grey: np.ndarray) -> None:
    assert brain_crop(grey) == (slice(0, grey.shape[0]), slice(0, grey.shape[1]))


def test_one_bright_pixel_does_not_change_the_crop() -> None:
    grey = slice_with_brain(slice(30, 170), slice(20, 120))
    expected = brain_crop(grey)
    grey[40, 60] = 255
    assert brain_crop(grey) == expected
