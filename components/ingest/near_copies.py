"""Find copies: exact ones by identical pixels, near ones by perceptual hash in all eight orientations.

The hash is the 64-bit DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010),
in the variant of the Python package imagehash (`phash`): 32 x 32 grey, unnormalised DCT-II, 8 x 8 low frequencies
against their median.
"""

import hashlib
import itertools
from dataclasses import dataclass

import numpy as np
from PIL import Image

HASH_SIDE = 8
GREY_SIDE = 32
MAX_DISTANCE = 4
# Below this deviation (grey levels) an image is blank, and the signs of its frequencies are rounding noise.
BLANK_DEVIATION = 1.0
BLOCK = 256
MAX_CROSS_LABEL_EXAMPLES = 12

_FREQUENCY = np.arange(HASH_SIDE)
_DCT = 2 * np.cos(np.pi * _FREQUENCY[:, None] * (2 * np.arange(GREY_SIDE) + 1) / (2 * GREY_SIDE))
_FLIP = np.where(_FREQUENCY % 2, -1.0, 1.0)


@dataclass(frozen=True)
class NearCopies:
    """Which images are near copies of one another.

    Attributes:
        groups: int [n], the group of each image, numbered from 0 in the order of their first member.
        pairs: how many pairs are near each other.
        cross_label_pairs: how many of them carry two labels.
        cross_label_examples: the first of those, as pairs of indices.
    """

    groups: np.ndarray
    pairs: int
    cross_label_pairs: int
    cross_label_examples: list[tuple[int, int]]


def pixel_hash(pixels: np.ndarray) -> str:
    """Return a SHA-256 that two images share exactly when their pixels, uint8 [h, w, 3], are identical."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).data).hexdigest()


def low_frequencies(pixels: np.ndarray) -> np.ndarray:
    """Return the 8 x 8 lowest DCT frequencies of an image, float64 [8, 8]; all NaN where it is blank.

    Args:
        pixels: uint8 [h, w, 3], 0-255.
    """
    grey = Image.fromarray(pixels).convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.LANCZOS)
    levels = np.asarray(grey, dtype=np.float64)
    if levels.std() < BLANK_DEVIATION:
        return np.full((HASH_SIDE, HASH_SIDE), np.nan)
    return _DCT @ levels @ _DCT.T


def perceptual_hashes(frequencies: np.ndarray) -> np.ndarray:
    """Hash each image in its eight orientations, from one DCT: a flip changes signs, a transposition transposes.

    Args:
        frequencies: float64 [n, 8, 8] of `low_frequencies`.

    Returns:
        uint64 [n, 8]; column 0 is the image as it is.
    """
    flips = [(1.0, 1.0), (1.0, _FLIP), (_FLIP[:, None], 1.0), (_FLIP[:, None], _FLIP)]
    turned = [frequencies * rows * columns for rows, columns in flips]
    turned += [orientation.transpose(0, 2, 1) for orientation in turned]
    flat = np.stack([orientation.reshape(-1, HASH_SIDE**2) for orientation in turned], axis=1)
    bits = flat > np.median(flat, axis=2, keepdims=True)
    return np.packbits(bits, axis=2).view(">u8")[..., 0].astype(np.uint64)


def find_near_copies(frequencies: np.ndarray, labels: list[str]) -> NearCopies:
    """Group the images whose hashes differ in at most 4 of 64 bits in any orientation; a chain of near copies is one group.

    Memory stays at a few blocks of `BLOCK` x n, whatever the number of pairs.

    Args:
        frequencies: float64 [n, 8, 8] of `low_frequencies`.
        labels: n class names.
    """
    hashes = perceptual_hashes(frequencies)
    blank = np.isnan(frequencies[:, 0, 0])
    label_codes = np.unique(labels, return_inverse=True)[1]
    groups = np.arange(len(hashes))
    pairs, cross_label_pairs = 0, 0
    examples: list[tuple[int, int]] = []
    for start in range(0, len(hashes), BLOCK):
        first, second = _near_pairs(hashes, blank, start)
        across = label_codes[first] != label_codes[second]
        groups = _join(groups, first, second)
        pairs += len(first)
        cross_label_pairs += int(across.sum())
        cross_pairs = zip(first[across].tolist(), second[across].tolist(), strict=True)
        examples += itertools.islice(cross_pairs, MAX_CROSS_LABEL_EXAMPLES - len(examples))
    return NearCopies(groups, pairs, cross_label_pairs, examples)


def _near_pairs(hashes: np.ndarray, blank: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs first < second that are near, with `first` in the block that begins at `start`."""
    block, later = hashes[start : start + BLOCK], hashes[start:]
    near = np.zeros((len(block), len(later)), bool)
    for orientation in range(hashes.shape[1]):
        # Both ways round, because a flip moves the median and so is not the same on either side.
        near |= np.bitwise_count(block[:, :1] ^ later[:, orientation]) <= MAX_DISTANCE
        near |= np.bitwise_count(block[:, orientation : orientation + 1] ^ later[:, 0]) <= MAX_DISTANCE
    near &= ~(blank[start : start + BLOCK, None] | blank[start:])
    first, second = np.nonzero(np.triu(near, k=1))
    return first + start, second + start


def _join(groups: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the groups after joining those of each pair, numbered in the order of their first member."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    members = np.arange(len(groups))
    rows, columns = np.concatenate([members, first]), np.concatenate([_first_member(groups), second])
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(groups), len(groups)))
    return connected_components(graph, directed=False)[1]


def _first_member(groups: np.ndarray) -> np.ndarray:
    _, index, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return index[inverse]
