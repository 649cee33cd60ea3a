"""Phantoms: valid, varied, and separated by the lesion alone."""

import numpy as np
import pytest

from brain_tumor.phantoms import make_phantom
from components.ingest.alignment import brain_thumbnail
from components.ingest.hashes import low_frequencies
from components.ingest.near_copies import find_near_copies
from components.ingest.shortcuts import common_language_effect

COUNT = 200
Phantom = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [make_phantom(np.random.default_rng([0, index]), lesion=index % 2 == 0) for index in range(COUNT)]


def test_image_and_mask_have_the_documented_types_and_values(phantoms: list[Phantom]) -> None:
    for index, (image, mask) in enumerate(phantoms):
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == mask.shape
        assert set(np.unique(mask)) == ({0, 255} if index % 2 == 0 else {0})
        assert image.std() > 15


def test_lesion_fills_a_visible_fraction_of_the_image(phantoms: list[Phantom]) -> None:
    fractions = [np.mean(mask > 0) for _, mask in phantoms[::2]]
    assert min(fractions) > 0.008
    assert max(fractions) < 0.2


def test_lesion_contrasts_with_the_rest_of_the_head(phantoms: list[Phantom]) -> None:
    contrasts = []
    for image, mask in phantoms[::2]:
        levels = image.astype(float)
        contrasts.append(np.abs(levels[mask > 0] - np.median(levels[(mask == 0) & (levels > 25)])).mean())
    assert np.quantile(contrasts, 0.05) > 25


def test_at_most_a_tenth_of_the_phantoms_are_near_copies(phantoms: list[Phantom]) -> None:
    frequencies = np.array([low_frequencies(image) for image, _ in phantoms])
    thumbnails = np.array([brain_thumbnail(image) for image, _ in phantoms])
    near = find_near_copies(frequencies, thumbnails, ["a"] * COUNT)
    assert near.groups.max() + 1 >= 0.9 * COUNT
    assert near.correlated_pairs == 0


@pytest.mark.parametrize(
    "measure",
    [lambda image: image.mean(), lambda image: max(image.shape), lambda image: image.shape[1] / image.shape[0]],
)
def test_brightness_and_size_do_not_separate_the_classes(phantoms: list[Phantom], measure: object) -> None:
    assert callable(measure)
    values = np.array([float(measure(image)) for image, _ in phantoms])
    assert common_language_effect(values[::2], values[1::2]) == pytest.approx(0.5, abs=0.12)
