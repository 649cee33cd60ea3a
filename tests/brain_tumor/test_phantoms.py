"""Phantoms: reproducible, varied, and told apart by the lesion alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brain_tumor.phantoms import make_phantom
from components.ingest.near_copies import find_near_copies, low_frequencies
from components.ingest.shortcuts import common_language_effect
from components.ingest.synthetic import write_phantoms

COUNT = 200
Phantom = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [make_phantom(np.random.default_rng([0, index]), lesion=index % 2 == 0) for index in range(COUNT)]


def test_image_and_mask(phantoms: list[Phantom]) -> None:
    for index, (image, mask) in enumerate(phantoms):
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == mask.shape
        assert set(np.unique(mask)) == ({0, 255} if index % 2 == 0 else {0})
        assert image.std() > 15


def test_a_lesion_is_large_enough_to_see(phantoms: list[Phantom]) -> None:
    shares = [np.mean(mask > 0) for _, mask in phantoms[::2]]
    assert min(shares) > 0.008
    assert max(shares) < 0.2


def test_the_lesion_stands_out_from_the_rest_of_the_head(phantoms: list[Phantom]) -> None:
    contrasts = []
    for image, mask in phantoms[::2]:
        levels = image.astype(float)
        contrasts.append(np.abs(levels[mask > 0] - np.median(levels[(mask == 0) & (levels > 25)])).mean())
    assert np.quantile(contrasts, 0.05) > 25


def test_nearly_every_phantom_is_a_group_of_its_own(phantoms: list[Phantom]) -> None:
    frequencies = np.array([low_frequencies(np.repeat(image[..., None], 3, axis=2)) for image, _ in phantoms])
    assert find_near_copies(frequencies, ["a"] * COUNT).groups.max() + 1 >= 0.9 * COUNT


@pytest.mark.parametrize(
    "measure",
    [lambda image: image.mean(), lambda image: max(image.shape), lambda image: image.shape[1] / image.shape[0]],
)
def test_brightness_and_size_do_not_tell_the_class(phantoms: list[Phantom], measure: object) -> None:
    assert callable(measure)
    values = np.array([float(measure(image)) for image, _ in phantoms])
    assert common_language_effect(values[::2], values[1::2]) == pytest.approx(0.5, abs=0.12)


def test_the_same_seed_gives_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    for name, n, seed in (("a", 6, 1), ("b", 10, 1), ("c", 6, 2)):
        write_phantoms(tmp_path / name, n=n, seed=seed)
    files = sorted(file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*.png"))
    assert [str(file) for file in files] == [
        *(f"masks/phantom-0000{index}.png" for index in (0, 2, 4)),
        *(f"no_tumor/phantom-0000{index}.png" for index in (1, 3, 5)),
        *(f"tumor/phantom-0000{index}.png" for index in (0, 2, 4)),
    ]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes()


def test_the_written_mask_fits_its_image(tmp_path: Path) -> None:
    write_phantoms(tmp_path, n=2, seed=0)
    with Image.open(tmp_path / "tumor/phantom-00000.png") as image, Image.open(tmp_path / "masks/phantom-00000.png") as mask:
        assert (image.mode, mask.mode) == ("L", "L")
        assert image.size == mask.size
