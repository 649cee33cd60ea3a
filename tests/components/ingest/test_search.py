"""The pairs of near hashes are all of them."""

import numpy as np
import pytest

from components.ingest import search
from components.ingest.search import HashIndex

COUNT = 20_000


def alike_hashes(rng: np.random.Generator) -> np.ndarray:
    """Return hashes of images and of seven changes of each, uint64 [n, 8], many of them some bits from one another."""
    own = rng.integers(0, 2**64, COUNT, np.uint64)
    own[1::2] = own[rng.integers(0, COUNT, COUNT // 2)]
    hashes = np.repeat(own[:, None], 8, axis=1)
    for _ in range(5):
        hashes ^= np.uint64(1) << rng.integers(0, 64, hashes.shape).astype(np.uint64)
    return hashes


def every_pair(hashes: np.ndarray, images: np.ndarray, max_distance: int) -> list[list[int]]:
    """Compare the hashes of some images with every image's own."""
    pairs = []
    for image in images.tolist():
        distance = np.bitwise_count(hashes[image, :, None] ^ hashes[None, :, 0]).min(axis=0)
        pairs += [[image, other] for other in np.flatnonzero(distance <= max_distance).tolist() if other != image]
    return pairs


@pytest.mark.parametrize("max_distance", [0, 2, 4])
def test_near_hashes_of_20000_are_those_of_comparing_every_pair(max_distance: int) -> None:
    rng = np.random.default_rng(max_distance)
    hashes = alike_hashes(rng)
    images = np.sort(rng.permutation(COUNT)[:300])
    pairs = HashIndex(hashes, np.zeros(COUNT, bool)).near(images, max_distance)
    assert pairs.tolist() == every_pair(hashes, images, max_distance)
    assert len(pairs) > 0 or max_distance < 4


def test_blank_images_are_near_none() -> None:
    rng = np.random.default_rng(9)
    hashes, blank = alike_hashes(rng), rng.random(COUNT) < 0.1
    images = np.arange(0, COUNT, 50)
    expected = [pair for pair in every_pair(hashes, images, 4) if not blank[pair].any()]
    assert HashIndex(hashes, blank).near(images, 4).tolist() == expected
    assert len(expected) > 5


def test_equal_hashes_are_found_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CANDIDATES_AT_ONCE", 100)
    pairs = HashIndex(np.full((50, 8), 7, np.uint64), np.arange(50) == 3).near(np.arange(50), 4)
    assert len(pairs) == 49 * 48
