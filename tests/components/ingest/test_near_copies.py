"""Pixel hashes, perceptual hashes and groups of near copies."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brain_tumor.images import read_image
from brain_tumor.phantoms import make_phantom
from components.ingest import near_copies
from components.ingest.alignment import THUMBNAIL_SIDE_PX, brain_thumbnail
from components.ingest.hashes import low_frequencies, perceptual_hashes, pixel_hash
from components.ingest.near_copies import BLOCK, NearCopies, find_near_copies
from tests.components.ingest.conftest import texture
from tests.components.ingest.edits import EDITS, crop, reorient, sharpen

ORIENTATIONS = [(turns, mirrored) for turns in range(4) for mirrored in (False, True)]


def find(images: list[np.ndarray], labels: str = "") -> NearCopies:
    frequencies = np.array([low_frequencies(pixels) for pixels in images])
    thumbnails = np.array([brain_thumbnail(np.asarray(Image.fromarray(pixels).convert("L"))) for pixels in images])
    return find_near_copies(frequencies, thumbnails, list(labels or "a" * len(images)))


def find_by_hash(frequencies: np.ndarray) -> NearCopies:
    """Find near copies without a second look: the thumbnails are blank."""
    thumbnails = np.zeros((len(frequencies), THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), np.uint8)
    return find_near_copies(frequencies, thumbnails, ["a"] * len(frequencies))


def phantom(seed: int) -> np.ndarray:
    grey, _ = make_phantom(np.random.default_rng(seed), lesion=seed % 2 == 0)
    return np.repeat(grey[..., None], 3, axis=2)


def test_pixel_hash_depends_on_shape_and_values() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert pixel_hash(pixels) == pixel_hash(pixels.copy())
    assert pixel_hash(pixels) == pixel_hash(np.asfortranarray(pixels))
    assert len({pixel_hash(each) for each in (pixels, pixels.reshape(4, 2, 3), pixels + 1)}) == 3


def test_perceptual_hash_equals_imagehash() -> None:
    """Compare with the definition in imagehash 4.3: scipy's DCT-II over both axes, 8 x 8 frequencies against their median."""
    from scipy.fft import dct

    pixels = texture(3)
    grey = np.asarray(Image.fromarray(pixels).convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float64)
    low = dct(dct(grey, axis=0), axis=1)[:8, :8]
    bits = (low > np.median(low)).reshape(-1)
    expected = int("".join(str(int(bit)) for bit in bits), 2)
    assert int(perceptual_hashes(low_frequencies(pixels)[None])[0, 0]) == expected


@pytest.mark.parametrize(("turns", "mirrored"), ORIENTATIONS)
def test_each_orientation_is_one_of_the_eight_hashes(turns: int, mirrored: bool) -> None:
    """The hash of a rotated or mirrored image is among the eight hashes of the original."""
    here = perceptual_hashes(low_frequencies(texture(1, side=96))[None])[0]
    there = perceptual_hashes(low_frequencies(reorient(texture(1, side=96), turns, mirrored))[None])[0, 0]
    assert np.bitwise_count(here ^ there).min() <= 1
    assert len(set(here.tolist())) == 8


@pytest.mark.parametrize(("turns", "mirrored"), ORIENTATIONS)
def test_rotated_brighter_smaller_copy_is_found(turns: int, mirrored: bool) -> None:
    copy = np.asarray(Image.fromarray(reorient(texture(0) // 2 + 40, turns, mirrored)).resize((50, 50)))
    near = find([texture(0), texture(1), copy], "aab")
    assert near.groups.tolist() == [0, 1, 0]
    assert (near.pairs, near.cross_label_pairs, near.cross_label_examples) == (1, 1, [(0, 2)])


def test_different_images_form_groups_of_one() -> None:
    near = find([texture(seed) for seed in range(60)])
    assert near.groups.tolist() == list(range(60))
    assert near.pairs == 0


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize(("turns", "mirrored"), [(0, False), (0, True), (1, False), (3, True)])
def test_edited_copies_are_joined_with_their_originals(
    edit: Callable[[np.ndarray], np.ndarray], turns: int, mirrored: bool
) -> None:
    """The benchmark prints the fraction of the copies of real images that is joined; it is not all of them."""
    originals = [*map(phantom, (0, 5, 7)), *(texture(seed, side=160) for seed in (0, 2, 3))]
    copies = [reorient(edit(pixels), turns, mirrored) for pixels in originals]
    near = find(originals + copies)
    assert near.groups.tolist() == 2 * list(range(6))
    assert near.pairs == 6


def test_second_look_finds_cropped_copies_that_the_hash_misses() -> None:
    near = find([texture(0, side=160), crop(texture(0, side=160)), texture(1, side=160), sharpen(texture(1, side=160))], "abcd")
    assert (near.pairs, near.correlated_pairs, near.cross_label_pairs) == (2, 1, 2)
    assert near.cross_label_examples == [(2, 3), (0, 1)]
    assert near.groups.tolist() == [0, 0, 1, 1]


def test_blank_images_have_no_near_copies() -> None:
    blank = [np.full((64, 64, 3), level, np.uint8) for level in (0, 0, 200)]
    assert find([*blank, texture(0)]).groups.tolist() == [0, 1, 2, 3]


def test_chain_of_near_copies_is_one_group_across_blocks() -> None:
    """Each hash differs from the previous one in four bits, so the ends differ in eight."""
    frequencies = np.random.default_rng(0).standard_normal((2 * BLOCK + 50, 8, 8))
    chain = [5, BLOCK + 7, 2 * BLOCK + 40]
    order = np.argsort(frequencies[chain[0]], axis=None)
    for step, (before, after) in enumerate(itertools.pairwise(chain)):
        frequencies[after] = frequencies[before]
        frequencies[after].flat[order[[2 * step, 2 * step + 1, -2 * step - 1, -2 * step - 2]]] *= -1
    hashes = perceptual_hashes(frequencies)[chain, 0]
    assert np.bitwise_count(hashes ^ hashes[0]).tolist() == [0, 4, 8]
    near = find_by_hash(frequencies)
    assert len({near.groups[index] for index in chain}) == 1
    assert near.groups.max() + 1 == len(frequencies) - 2
    firsts = [int(np.flatnonzero(near.groups == group)[0]) for group in range(near.groups.max() + 1)]
    assert firsts == sorted(firsts)


def test_identical_images_form_one_group() -> None:
    frequencies = np.repeat(np.random.default_rng(0).standard_normal((1, 8, 8)), 2 * BLOCK, axis=0)
    near = find_by_hash(frequencies)
    assert not near.groups.any()
    assert near.pairs == BLOCK * (2 * BLOCK - 1)


def test_no_images_give_no_pairs() -> None:
    assert find_by_hash(np.empty((0, 8, 8))).pairs == 0


def test_second_look_spans_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_copies, "BLOCK", 3)
    monkeypatch.setattr(near_copies, "PAIRS_AT_ONCE", 2)
    images = [texture(seed, side=160) for seed in range(4)]
    near = find([*images, *map(crop, images)])
    assert near.groups.tolist() == 2 * list(range(4))
    assert near.correlated_pairs == 4


@pytest.mark.realdata
def test_navoneel_has_66_near_pairs_by_hash_and_more_by_brain_crop(realdata: Path) -> None:
    files = sorted((realdata / "navoneel").glob("*/*"))
    images = [read_image(file.read_bytes()).pixels for file in files]
    near = find(images, "".join(file.parent.name[0] for file in files))
    assert (len(files), near.pairs - near.correlated_pairs, near.cross_label_pairs) == (253, 66, 0)
    assert (near.correlated_pairs, near.groups.max() + 1) == (12, 199)


@pytest.mark.realdata
@pytest.mark.parametrize(("folder", "correlated_pairs"), [("sartaj4-subset", 11), ("figshare64/images", 0)])
def test_second_look_joins_no_slices_of_different_patients(realdata: Path, folder: str, correlated_pairs: int) -> None:
    """By eye, all of these pairs are copies of one slice."""
    images = [read_image(file.read_bytes()).pixels for file in sorted((realdata / folder).rglob("*.*"))]
    assert find(images).correlated_pairs == correlated_pairs
