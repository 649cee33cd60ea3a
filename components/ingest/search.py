"""Find all images whose hashes differ in few bits, exactly.

Hashes that differ in fewer bits than they have bands are equal in one band at least (the pigeonhole principle), so those that are
equal in a band are compared.
"""

import functools

import numpy as np

# Hits are collected for so many queries at a time: each may be near every image.
QUERIES_AT_ONCE = 512
CANDIDATES_AT_ONCE = 1_000_000
# Bits of a band are apart: neighbouring frequencies of brain slices are alike, and more hashes would be equal in a band of them.
BANDS = 5
BAND_MASKS = [np.uint64(sum(1 << bit for bit in range(band, 64, BANDS))) for band in range(BANDS)]

# A query's number and the place of a hash in the index, int [n] each.
Hits = tuple[np.ndarray, np.ndarray]


class HashIndex:
    """An index of 64-bit hashes.

    Args:
        hashes: Hashes of each image, uint64 [n, k]; column 0 is the image itself, the others its other orientations.
        blank: Blank images, bool [n]: they are near no image.
    """

    def __init__(self, hashes: np.ndarray, blank: np.ndarray):
        self._hashes, self._blank = hashes, blank
        self._images = np.flatnonzero(~blank)

    def near(self, images: np.ndarray, max_distance: int) -> np.ndarray:
        """Return the pairs of images of which any hash of the first is near the second's own hash, without pairs of one image.

        Args:
            images: First images of the pairs, int [m], in ascending order.
            max_distance: Maximum number of different bits, below `BANDS`.

        Returns:
            First and second image of each pair, int64 [pairs, 2], sorted, none twice.
        """
        images = images[~self._blank[images]]
        columns = self._hashes.shape[1]
        at_once = max(1, QUERIES_AT_ONCE // columns)
        found = [self._search(images[start : start + at_once], columns, max_distance) for start in range(0, len(images), at_once)]
        return np.concatenate([np.empty((0, 2), np.int64), *found])

    def _search(self, images: np.ndarray, columns: int, max_distance: int) -> np.ndarray:
        queries, places = self._find(self._hashes[images].reshape(-1), max_distance)
        near = np.zeros((len(images), len(self._hashes)), bool)
        near[queries // columns, self._images[places]] = True
        near[np.arange(len(images)), images] = False
        first, second = np.divmod(np.flatnonzero(near), near.shape[1])
        return np.stack([images[first], second], axis=1)

    @functools.cached_property
    def _bands(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The hashes in ascending order of each band, and their places."""
        own = np.ascontiguousarray(self._hashes[self._images, 0])
        orders = [np.argsort(own & mask) for mask in BAND_MASKS]
        return [(own[order], order) for order in orders]

    def _find(self, hashes: np.ndarray, max_distance: int) -> Hits:
        found = []
        for band, (own, order) in enumerate(self._bands):
            mask = BAND_MASKS[band]
            starts, ends = (np.searchsorted(own & mask, hashes & mask, side) for side in ("left", "right"))
            counts = ends - starts
            chunks = counts.cumsum() // CANDIDATES_AT_ONCE
            for queries in np.split(np.arange(len(hashes)), np.flatnonzero(np.diff(chunks)) + 1):
                many = counts[queries]
                query = np.repeat(queries, many)
                place = np.arange(len(query)) + np.repeat(starts[queries] - many.cumsum() + many, many)
                difference = hashes[query] ^ own[place]
                near = np.bitwise_count(difference) <= max_distance
                for earlier in BAND_MASKS[:band]:  # which has found it
                    near[near] = difference[near] & earlier != 0
                found.append((query[near], order[place[near]]))
        queries, places = (np.concatenate(each) for each in zip(*found, strict=True))
        return queries, places


def unique_pairs(pairs: np.ndarray, n: int) -> np.ndarray:
    """Return the pairs of indices below n, int64 [m, 2], sorted, none twice."""
    return np.stack(np.divmod(np.unique(pairs[:, 0] * n + pairs[:, 1]), max(n, 1)), axis=1)


def is_near(hashes: np.ndarray, blank: np.ndarray, first: np.ndarray, second: np.ndarray, max_distance: int) -> np.ndarray:
    """Return whether any hash of each first image is near the second's own hash, bool [m]."""
    distance = np.full(len(first), 64, np.uint8)
    for column in range(hashes.shape[1]):
        np.minimum(distance, np.bitwise_count(hashes[first, column] ^ hashes[second, 0]), out=distance)
    return (distance <= max_distance) & ~(blank[first] | blank[second])
