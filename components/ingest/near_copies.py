"""Find near copies (near-duplicates) by perceptual hash in all eight orientations, and hash pixels for exact copies.

The hash is the 64-bit DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010),
in the variant of the Python package imagehash (`phash`): 32 x 32 grey, unnormalised DCT-II, 8 x 8 low frequencies
compared with their median. imagehash itself needs one DCT per orientation; here one DCT gives all eight.
"""

import hashlib
import itertools
from dataclasses import dataclass

import numpy as np
from PIL import Image

HASH_SIDE = 8
GREY_SIDE = 32
MAX_DISTANCE = 4
# Below this standard deviation (grey levels) an image is blank: the signs of its frequencies are rounding noise.
BLANK_DEVIATION = 1.0
BLOCK = 256
MAX_CROSS_LABEL_EXAMPLES = 12

_FREQUENCY = np.arange(HASH_SIDE)
_DCT = 2 * np.cos(np.pi * _FREQUENCY[:, None] * (2 * np.arange(GREY_SIDE) + 1) / (2 * GREY_SIDE))
_FLIP = np.where(_FREQUENCY % 2, -1.0, 1.0)


@dataclass(frozen=True)
class NearCopies:
    """The near copies among n images.

    Attributes:
        groups: Group of each image, int [n], numbered from 0 in the order of first members.
        pairs: Number of pairs of near copies.
        cross_label_pairs: Number of these pairs with two labels.
        cross_label_examples: First of the cross-label pairs, as pairs of indices.
    """

    groups: np.ndarray
    pairs: int
    cross_label_pairs: int
    cross_label_examples: list[tuple[int, int]]


def pixel_hash(pixels: np.ndarray) -> str:
    """Return the SHA-256 of shape and pixels, uint8 [h, w, 3]: equal only for identical pixels."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).data).hexdigest()


def low_frequencies(pixels: np.ndarray) -> np.ndarray:
    """Return the 8 x 8 lowest DCT frequencies of an image, float64 [8, 8]; all NaN if it is blank.

    Args:
        pixels: RGB pixels, uint8 [h, w, 3], 0-255.
    """
    grey = Image.fromarray(pixels).convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.LANCZOS)
    levels = np.asarray(grey, dtype=np.float64)
    if levels.std() < BLANK_DEVIATION:
        return np.full((HASH_SIDE, HASH_SIDE), np.nan)
    return _DCT @ levels @ _DCT.T


def perceptual_hashes(frequencies: np.ndarray) -> np.ndarray:
    """Hash each image in its eight orientations from one DCT: flips change signs, transposes give the other four.

    Args:
        frequencies: Frequencies from `low_frequencies`, float64 [n, 8, 8].

    Returns:
        The hashes, uint64 [n, 8]; column 0 is the original orientation.
    """
    flips = [(1.0, 1.0), (1.0, _FLIP), (_FLIP[:, None], 1.0), (_FLIP[:, None], _FLIP)]
    turned = [frequencies * rows * columns for rows, columns in flips]
    turned += [orientation.transpose(0, 2, 1) for orientation in turned]
    flat = np.stack([orientation.reshape(-1, HASH_SIDE**2) for orientation in turned], axis=1)
    bits = flat > np.median(flat, axis=2, keepdims=True)
    return np.packbits(bits, axis=2).view(">u8")[..., 0].astype(np.uint64)


def find_near_copies(frequencies: np.ndarray, labels: list[str]) -> NearCopies:
    """Group the images whose hashes differ in at most 4 of 64 bits in any orientation; a chain of near copies is one group.

    Memory is limited to a few blocks of `BLOCK` x n, for any number of pairs.

    Args:
        frequencies: Frequencies from `low_frequencies`, float64 [n, 8, 8].
        labels: Class names of the n images.
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
    """Return the pairs of near copies, first < second, with `first` in the block that starts at `start`."""
    block, later = hashes[start : start + BLOCK], hashes[start:]
    near = np.zeros((len(block), len(later)), bool)
    for orientation in range(hashes.shape[1]):
        # Compare in both directions: a flip moves the median, so the distance is not symmetric.
        near |= np.bitwise_count(block[:, :1] ^ later[:, orientation]) <= MAX_DISTANCE
        near |= np.bitwise_count(block[:, orientation : orientation + 1] ^ later[:, 0]) <= MAX_DISTANCE
    near &= ~(blank[start : start + BLOCK, None] | blank[start:])
    first, second = np.nonzero(np.triu(near, k=1))
    return first + start, second + start


def _join(groups: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Merge the two groups of every pair; return the groups numbered in the order of first members."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    members = np.arange(len(groups))
    rows, columns = np.concatenate([members, first]), np.concatenate([_first_member(groups), second])
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(groups), len(groups)))
    return connected_components(graph, directed=False)[1]


def _first_member(groups: np.ndarray) -> np.ndarray:
    _, index, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return index[inverse]
