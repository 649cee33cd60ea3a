"""Correlation of brain crops after alignment."""

import numpy as np
import pytest
from PIL import Image

from components.ingest.alignment import aligned_correlation, brain_thumbnail
from tests.components.ingest.conftest import texture


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    return brain_thumbnail(pixels[..., 0])


def test_thumbnail_ignores_the_dark_frame() -> None:
    grey = texture(0, side=96)[..., 0] // 2 + 100
    framed = np.pad(grey, ((40, 10), (5, 80)))
    assert brain_thumbnail(framed).shape == (48, 48)
    assert brain_thumbnail(framed).dtype == np.uint8
    np.testing.assert_array_equal(brain_thumbnail(framed), brain_thumbnail(grey))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_each_orientation_correlates(turns: int, mirrored: bool) -> None:
    image = thumbnail(texture(0, side=96))
    other = np.rot90(image[:, ::-1] if mirrored else image, turns)
    assert aligned_correlation(image[None], other[None])[0] == pytest.approx(1, abs=1e-4)


def test_brightness_and_contrast_do_not_matter() -> None:
    image = thumbnail(texture(0, side=96))
    assert aligned_correlation(image[None], image[None] // 3 + 90)[0] > 0.99


@pytest.mark.parametrize("window", [(0, 140, 20, 160), (20, 160, 0, 160), (12, 148, 12, 148)])
def test_shift_and_scale_are_fitted_in_both_directions(window: tuple[int, int, int, int]) -> None:
    image = texture(3, side=160)
    top, bottom, left, right = window
    first, second = thumbnail(image), thumbnail(image[top:bottom, left:right])
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.9
    assert aligned_correlation(np.array([first, second]), np.array([second, first])).min() > 0.97


def test_different_images_do_not_correlate() -> None:
    images = np.array([thumbnail(texture(seed, side=96)) for seed in range(40)])
    first, second = np.triu_indices(len(images), k=1)
    assert aligned_correlation(images[first], images[second]).max() < 0.9


def test_blank_and_missing_images_give_no_correlation() -> None:
    blank = np.full((1, 48, 48), 9, np.uint8)
    assert aligned_correlation(blank, blank)[0] == 0
    assert aligned_correlation(blank, thumbnail(texture(0))[None])[0] == 0
    assert aligned_correlation(blank[:0], blank[:0]).shape == (0,)


def test_result_does_not_depend_on_the_other_pairs() -> None:
    images = np.array([np.asarray(Image.fromarray(texture(seed)[..., 0]).resize((48, 48))) for seed in range(9)])
    together = aligned_correlation(images[:-1], images[1:])
    alone = [aligned_correlation(images[[index]], images[[index + 1]])[0] for index in range(8)]
    np.testing.assert_allclose(together, alone, atol=1e-4)
