"""The images that deserve a second look are those whose brain crops are most alike."""

import numpy as np
import pytest

from components.ingest import second_look
from components.ingest.alignment import THUMBNAIL_SIDE_PX
from components.ingest.second_look import BrainCrops, crop_frequencies, crop_spaces, fold, resemblance, spread, whole_crops
from tests.components.ingest.conftest import texture
from tests.components.ingest.edits import reorient

ORIENTATIONS = [(turns, mirrored) for turns in range(4) for mirrored in (False, True)]
NONE = np.empty((0, 2), np.int64)


def thumbnail(seed: int, cut_px: int = 0) -> np.ndarray:
    """Return a texture, cut at its top and scaled back, uint8 [48, 48]."""
    side = THUMBNAIL_SIDE_PX
    rows = np.linspace(cut_px, side - 1, side).round().astype(int)
    return texture(seed, side=side)[rows][..., 0]


def originals_and_copies(count: int) -> np.ndarray:
    """Return textures and then, in the same order, a copy of each, cut by 8 % and turned, uint8 [2 count, 48, 48]."""
    copies = [reorient(thumbnail(seed, cut_px=4), *ORIENTATIONS[seed % 8]) for seed in range(count)]
    return np.array([thumbnail(seed) for seed in range(count)] + copies)


@pytest.mark.parametrize(("turns", "mirrored"), ORIENTATIONS)
def test_no_orientation_changes_the_features(turns: int, mirrored: bool) -> None:
    frequencies = crop_frequencies(np.array([thumbnail(seed) for seed in range(20)]))[:, 0]
    turned = crop_frequencies(np.array([reorient(thumbnail(seed), turns, mirrored) for seed in range(20)]))[:, 0]
    mean, deviation = spread(frequencies)
    np.testing.assert_allclose(fold(turned, mean, deviation), fold(frequencies, mean, deviation), atol=1e-2)


@pytest.mark.parametrize(("turns", "mirrored"), ORIENTATIONS)
def test_image_resembles_its_turned_self_and_its_trimmed_self_but_no_other(turns: int, mirrored: bool) -> None:
    trimmed = thumbnail(3)[4:]
    trimmed = trimmed[np.linspace(0, len(trimmed) - 1, THUMBNAIL_SIDE_PX).round().astype(int)]
    others = [thumbnail(3), trimmed, thumbnail(4), np.full((THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), 9, np.uint8)]
    frequencies = crop_frequencies(np.array([thumbnail(3), *(reorient(each, turns, mirrored) for each in others)]))
    scale = spread(crop_frequencies(np.array([thumbnail(seed) for seed in range(50)]))[:, 0])
    alike = resemblance(crop_spaces(frequencies[:1], *scale), whole_crops(frequencies[1:, 0], *scale)[None])[0]
    assert alike[0] == pytest.approx(1, abs=1e-3)
    assert alike[1] > 0.9
    assert alike[2] < 0.6
    assert alike[3] == 0


def test_cut_copies_are_found_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """As among more images than get a look each, and than the shortlist holds."""
    monkeypatch.setattr(second_look, "SHORTLIST", 16)
    monkeypatch.setattr(second_look, "MAX_LOOKS", 0)
    monkeypatch.setattr(second_look, "MIN_RESEMBLANCE", 0.0)
    count = 300
    crops = BrainCrops(crop_frequencies(originals_and_copies(count)))
    pairs = crops.most_alike(np.arange(2 * count), NONE)
    assert np.bincount(pairs[:, 0]).max() == second_look.MIN_CANDIDATES
    found = set(map(tuple, np.sort(pairs, axis=1).tolist()))
    assert sum((seed, count + seed) in found for seed in range(count)) >= 0.98 * count


def test_known_pairs_blank_images_and_the_image_itself_are_left_out() -> None:
    thumbnails = originals_and_copies(20)
    thumbnails[5] = 0
    crops = BrainCrops(crop_frequencies(thumbnails))
    before = crops.most_alike(np.arange(40), NONE).tolist()
    assert {first for first, _ in before} | {second for _, second in before} == set(range(40)) - {5, 25}
    assert all(first != second for first, second in before)
    known = np.array([[0, 20], [5, 26], [7, 27], [20, 0]])  # 5 is blank, so this must not take 26 from 6
    after = crops.most_alike(np.arange(40), known).tolist()
    assert [pair for pair in before if pair not in known.tolist()] == after


def test_pairs_do_not_depend_on_how_the_images_are_divided() -> None:
    crops = BrainCrops(crop_frequencies(originals_and_copies(60)))
    parts = [crops.most_alike(part, NONE) for part in np.split(np.arange(120), [1, 50, 97])]
    assert np.concatenate(parts).tolist() == crops.most_alike(np.arange(120), NONE).tolist()


def test_few_images_have_few_pairs() -> None:
    assert BrainCrops(crop_frequencies(originals_and_copies(1)[:1])).most_alike(np.arange(1), NONE).tolist() == []
    pairs = BrainCrops(crop_frequencies(originals_and_copies(1))).most_alike(np.arange(2), NONE)
    assert pairs.tolist() == [[0, 1], [1, 0]]
