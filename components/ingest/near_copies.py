"""Find near copies (near-duplicates) in all eight orientations, and hash pixels for exact copies.

Images with near perceptual hashes are near copies. Cropping and sharpening move the hash, so there is a second look:
images whose brain crops have similar hashes are near copies if the aligned crops correlate.

The hash is the 64-bit DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010),
in the variant of the Python package imagehash (`phash`): 32 x 32 grey, unnormalised DCT-II, 8 x 8 low frequencies
compared with their median. imagehash itself needs one DCT per orientation; here one DCT gives all eight.
"""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from components.ingest.alignment import aligned_correlation
from components.ingest.progress import with_progress

HASH_SIDE = 8
GREY_SIDE = 32
MAX_DISTANCE = 4
# Measured with tests/benchmarks/near_copies.py. 2 to 4 % of all pairs have crop hashes that differ in at most 12 bits.
# Of these pairs copies correlate from 0.977 on, other slices of one patient up to 0.958, phantoms up to 0.953.
MAX_CROP_DISTANCE = 12
MIN_CORRELATION = 0.965
# Cutting into the brain moves its hash: the brain crop is hashed whole and without 8 % at each of its sides.
TRIM_PX = 4
TRIMS = (
    (slice(None), slice(None)),
    (slice(TRIM_PX, None), slice(None)),
    (slice(-TRIM_PX), slice(None)),
    (slice(None), slice(TRIM_PX, None)),
    (slice(None), slice(-TRIM_PX)),
)
# Below this standard deviation (grey levels) an image is blank: the signs of its frequencies are rounding noise.
BLANK_DEVIATION = 1.0
BLOCK = 256
PAIRS_AT_ONCE = 256
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
        correlated_pairs: Number of these pairs that only the second look finds.
        cross_label_pairs: Number of these pairs with two labels.
        cross_label_examples: First of the cross-label pairs, as pairs of indices.
    """

    groups: np.ndarray
    pairs: int
    correlated_pairs: int
    cross_label_pairs: int
    cross_label_examples: list[tuple[int, int]]


def pixel_hash(pixels: np.ndarray) -> str:
    """Return the SHA-256 of shape and pixels, uint8 [h, w, 3]: equal only for identical pixels."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).data).hexdigest()


def low_frequencies(pixels: np.ndarray) -> np.ndarray:
    """Return the 8 x 8 lowest DCT frequencies of an image, float64 [8, 8]; all NaN if it is blank.

    Args:
        pixels: RGB or grey pixels, uint8 [h, w, 3] or [h, w], 0-255.
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


def find_near_copies(frequencies: np.ndarray, thumbnails: np.ndarray, labels: list[str]) -> NearCopies:
    """Group the near copies; a chain of near copies is one group.

    Args:
        frequencies: Frequencies from `low_frequencies`, float64 [n, 8, 8].
        thumbnails: Brain crops from `brain_thumbnail`, uint8 [n, 48, 48].
        labels: Class names of the n images.
    """
    label_codes = np.unique(labels, return_inverse=True)[1]
    groups = np.arange(len(frequencies))
    pairs, correlated_pairs, cross_label_pairs = 0, 0, 0
    examples: list[tuple[int, int]] = []
    for hashed, correlated in near_pairs(frequencies, thumbnails):
        first, second = np.concatenate([hashed, correlated]).T
        across = label_codes[first] != label_codes[second]
        groups = _join(groups, first, second)
        pairs += len(first)
        correlated_pairs += len(correlated)
        cross_label_pairs += int(across.sum())
        cross_pairs = zip(first[across].tolist(), second[across].tolist(), strict=True)
        examples += itertools.islice(cross_pairs, MAX_CROSS_LABEL_EXAMPLES - len(examples))
    return NearCopies(groups, pairs, correlated_pairs, cross_label_pairs, examples)


def near_pairs(frequencies: np.ndarray, thumbnails: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pairs of near copies, block by block: memory is limited to a few blocks of `BLOCK` x n.

    Two images are near copies if their hashes differ in at most 4 of 64 bits in any orientation, or if the hashes of
    their brain crops, one of them whole or trimmed, differ in at most 12 bits and the aligned crops correlate above 0.965.

    Yields:
        The pairs that the hash finds and the pairs that only the second look finds, as indices first < second, int [m, 2].
    """
    hashes, blank = perceptual_hashes(frequencies), np.isnan(frequencies[:, 0, 0])
    crop_frequencies = [_frequencies_of([thumbnail[trim] for thumbnail in thumbnails]) for trim in TRIMS]
    crop_hashes = np.concatenate([perceptual_hashes(trimmed) for trimmed in crop_frequencies], axis=1)
    blank_crop = np.isnan(crop_frequencies[0][:, 0, 0])
    for start in with_progress(range(0, len(hashes), BLOCK), "compared blocks of images"):
        hashed = _within(hashes, blank, start, MAX_DISTANCE)
        candidates = np.argwhere(_within(crop_hashes, blank_crop, start, MAX_CROP_DISTANCE) & ~hashed) + start
        yield np.argwhere(hashed) + start, candidates[_correlate(thumbnails, candidates)]


def _frequencies_of(images: list[np.ndarray]) -> np.ndarray:
    return np.array([low_frequencies(image) for image in images]).reshape(-1, HASH_SIDE, HASH_SIDE)


def _within(hashes: np.ndarray, blank: np.ndarray, start: int, max_distance: int) -> np.ndarray:
    """Compare the block that starts at `start` with itself and with all later images.

    Args:
        hashes: Hashes of each image in all its orientations and trims, uint64 [n, k]; column 0 is the image itself.
        blank: Blank images, bool [n]: they are near no image.
        start: First image of the block.
        max_distance: Largest number of different bits.

    Returns:
        Whether one image's column 0 is near any column of the other, bool [block, n - start]; False up to the diagonal.
    """
    block, later = hashes[start : start + BLOCK], hashes[start:]
    near = np.zeros((len(block), len(later)), bool)
    for column in range(hashes.shape[1]):
        # Compare in both directions: a flip moves the median, so the distance is not symmetric.
        near |= np.bitwise_count(block[:, :1] ^ later[:, column]) <= max_distance
        near |= np.bitwise_count(block[:, column : column + 1] ^ later[:, 0]) <= max_distance
    near &= ~(blank[start : start + BLOCK, None] | blank[start:])
    return np.triu(near, k=1)


def _correlate(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return whether the aligned thumbnails of each pair correlate above the minimum, bool [m]."""
    correlated = np.zeros(len(pairs), bool)
    for begin in range(0, len(pairs), PAIRS_AT_ONCE):
        first, second = pairs[begin : begin + PAIRS_AT_ONCE].T
        correlated[begin : begin + PAIRS_AT_ONCE] = aligned_correlation(thumbnails[first], thumbnails[second]) > MIN_CORRELATION
    return correlated


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
