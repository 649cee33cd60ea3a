"""Choose the pairs of images that get a second look: those whose brain crops, one of them whole or trimmed, have near hashes.

Of images as alike as brain slices this is a fixed share of all pairs, and a look takes a thousand times longer than comparing
hashes. So of many images each brings some pairs alone, those that its crops resemble most.
"""

import numpy as np

from components.ingest.hashes import HASH_SIDE, grey_frequencies, orientations

# Measured with tests/benchmarks/near_copies.py. 2 to 4 % of all pairs have crop hashes that differ in at most 12 bits.
# Of these pairs copies correlate from 0.977 on, other slices of one patient up to 0.958, phantoms up to 0.953.
MAX_CROP_DISTANCE = 12
MAX_LOOKS = 80_000  # all pairs of some 2,000 images
MIN_CANDIDATES = 4
# Cutting into the brain moves its hash: the brain crop is hashed whole and without 8 % at each of its sides.
TRIM_PX = 4
TRIMS = (
    (slice(None), slice(None)),
    (slice(TRIM_PX, None), slice(None)),
    (slice(-TRIM_PX), slice(None)),
    (slice(None), slice(TRIM_PX, None)),
    (slice(None), slice(-TRIM_PX)),
)
MIN_DEVIATION = 1e-6


def max_candidates(images: int) -> int:
    """Return how many pairs each of a number of images may bring."""
    return max(MIN_CANDIDATES, MAX_LOOKS // max(images, 1))


def crop_frequencies(thumbnails: np.ndarray) -> np.ndarray:
    """Return the frequencies of brain crops, uint8 [n, 48, 48], whole and trimmed, float64 [n, 5, 8, 8]."""
    return np.stack([grey_frequencies(thumbnails[:, *trim]) for trim in TRIMS], axis=1)


def spread(frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the frequencies, float [n, 8, 8], over all orientations, float64 [8, 8] each."""
    whole = np.nan_to_num(frequencies)
    square = (whole**2).mean(axis=0, dtype=np.float64)
    mean = orientations(whole.mean(axis=0, dtype=np.float64)).mean(axis=0)
    return mean, np.sqrt(np.maximum((square + square.T) / 2 - mean**2, 0)) + MIN_DEVIATION


def whole_crops(frequencies: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return brain crops, float [n, 8, 8], as unit vectors of standardised frequencies, float32 [n, 64]."""
    vectors = ((np.nan_to_num(frequencies) - mean) / deviation).reshape(-1, HASH_SIDE**2).astype(np.float32)
    vectors[:, 0] = 0  # brightness
    return vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + MIN_DEVIATION)


def crop_spaces(frequencies: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return bases of the spaces that whole crops and their changes by the trims span, in eight orientations.

    Args:
        frequencies: Frequencies of brain crops, whole and trimmed, float [n, 5, 8, 8].
        mean: Mean of all frequencies, float [8, 8].
        deviation: Their standard deviation, float [8, 8].

    Returns:
        float32 [n, 64, 8 * 5]: for each orientation five orthonormal vectors.
    """
    whole = frequencies[:, :1]
    vectors = np.concatenate([whole - mean, np.nan_to_num(frequencies[:, 1:] - whole)], axis=1) / deviation
    turned = orientations(vectors).reshape(-1, len(TRIMS), 8, HASH_SIDE**2)
    turned[..., 0] = 0
    bases = np.linalg.qr(turned.transpose(0, 2, 3, 1))[0].astype(np.float32)  # [n, 8, 64, 5]
    return bases.transpose(0, 2, 1, 3).reshape(-1, HASH_SIDE**2, 8 * len(TRIMS))


def resemblance(space: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how well an image, cropped at any of its sides, explains others, float32 [n], 0-1.

    It is the cosine of the angle between each of the others and the space of the image, in the best orientation: the tangent
    distance of Simard et al. 1993, "Efficient pattern recognition using a new transformation distance".

    Args:
        space: The bases of its space from `crop_spaces`, float32 [64, 8 * 5].
        others: The others, as `whole_crops` returns them, float32 [n, 64].
    """
    parts = (others @ space).reshape(len(others), 8, len(TRIMS))
    return np.sqrt(np.einsum("noi,noi->no", parts, parts).max(axis=1))
