"""Choose the pairs of images that get a second look: those whose brain crops are most alike, one of them whole or trimmed.

A look takes a thousand times as long as comparing two hashes, so of many images each brings few pairs. Its crop is compared with
all others by features that no orientation changes, in products of matrices, and with the most alike of them in each orientation.
"""

import functools

import numpy as np

from components.ingest.alignment import THUMBNAIL_SIDE_PX
from components.ingest.hashes import BLANK_DEVIATION, HASH_SIDE, orientations

# Measured with tests/benchmarks/second_look.py and near_copies.py. Few images bring more pairs each, MAX_LOOKS together.
MAX_LOOKS = 40_000
MIN_CANDIDATES = 2
SHORTLIST = 256
MIN_RESEMBLANCE = 0.75
# Cutting into the brain changes its crop: it counts whole and without 8 % at each of its sides.
TRIM_PX = 4
WHOLE, WITHOUT_FIRST, WITHOUT_LAST = slice(None), slice(TRIM_PX, None), slice(-TRIM_PX)
TRIMS = ((WHOLE, WHOLE), (WITHOUT_FIRST, WHOLE), (WITHOUT_LAST, WHOLE), (WHOLE, WITHOUT_FIRST), (WHOLE, WITHOUT_LAST))
FEATURES = 32
SHRINKAGE_IMAGES = 20
MIN_DEVIATION = 1e-6
# So many images are compared with so many others at a time: their scores stay in the processor's cache.
QUERIES_AT_ONCE, IMAGES_AT_ONCE = 64, 1024
MAX_SCORES = 2**22

_FREQUENCY = np.arange(HASH_SIDE)
_SQUARES = _FREQUENCY[:, None] ** 2 + _FREQUENCY**2
# The spectra of photographs fall with the square of the frequency (Field 1987, doi:10.1364/JOSAA.4.002379). Without brightness.
_FALL = np.where(_SQUARES, 1 / np.maximum(_SQUARES, 1), 0)
USUAL_VARIANCE = _FALL / _FALL.sum()
_ODD = (_FREQUENCY[:, None] | _FREQUENCY) % 2 == 1
_UPPER = np.triu_indices(HASH_SIDE, 1)


def max_candidates(images: int) -> int:
    """Return how many pairs each of a number of images may bring."""
    return max(MIN_CANDIDATES, MAX_LOOKS // max(images, 1))


def crop_frequencies(thumbnails: np.ndarray) -> np.ndarray:
    """Return the frequencies of brain crops, uint8 [n, 48, 48], whole and trimmed, float32 [n, 5, 8, 8]; NaN of blank ones."""
    levels = thumbnails.astype(np.float32)
    frequencies = np.stack([_dct(rows) @ levels[:, rows, columns] @ _dct(columns).T for rows, columns in TRIMS], axis=1)
    frequencies[levels.std(axis=(1, 2)) < BLANK_DEVIATION] = np.nan
    return frequencies


def _dct(part: slice) -> np.ndarray:
    """Return the transform of a part of an axis into its lowest frequencies, float32 [8, pixels]."""
    pixels = len(range(THUMBNAIL_SIDE_PX)[part])
    return (np.cos(np.pi * _FREQUENCY[:, None] * (2 * np.arange(pixels) + 1) / (2 * pixels)) / pixels).astype(np.float32)


class BrainCrops:
    """The brain crops of n images.

    Args:
        frequencies: Their `crop_frequencies`, float32 [n, 5, 8, 8].
    """

    def __init__(self, frequencies: np.ndarray):
        self._frequencies = frequencies

    def most_alike(self, images: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Return the pairs of images that deserve a look, of each first image at most `max_candidates`.

        Args:
            images: First images of the pairs, int [m], in ascending order.
            known: Pairs of them that are not wanted, int [k, 2].

        Returns:
            First and second image of each pair, int64 [pairs, 2].
        """
        at_once = max(1, min(QUERIES_AT_ONCE, MAX_SCORES // max(len(self._frequencies), 1)))
        images = images[~np.isnan(self._frequencies[images, 0, 0, 0])]
        starts = range(0, len(images), at_once)
        found = [self._most_alike_of(images[start : start + at_once], known) for start in starts]
        return np.concatenate([np.empty((0, 2), np.int64), *found])

    def _most_alike_of(self, images: np.ndarray, known: np.ndarray) -> np.ndarray:
        scores = self._compare_with_all(images)
        known = known[np.isin(known[:, 0], images)]
        scores[np.searchsorted(images, known[:, 0]), known[:, 1]] = 0
        scores[np.arange(len(images)), images] = 0
        count = len(self._frequencies)
        maximum = max_candidates(count)
        shortlist = min(count, max(SHORTLIST, maximum))
        others = np.sort(np.argpartition(scores, count - shortlist, axis=1)[:, count - shortlist :], axis=1)
        alike = resemblance(crop_spaces(self._frequencies[images], *self._spread), self._wholes[others])
        alike[np.take_along_axis(scores, others, axis=1) == 0] = 0
        best = np.argsort(-alike, axis=1, kind="stable")[:, :maximum]
        rows, places = np.nonzero(np.take_along_axis(alike, best, axis=1) >= MIN_RESEMBLANCE)
        return np.stack([images[rows], others[rows, best[rows, places]]], axis=1)

    def _compare_with_all(self, images: np.ndarray) -> np.ndarray:
        """Return how well the features of each image, cropped at any of its sides, explain those of all, float32 [m, n], 0-1."""
        spaces = _spanned(self._features_of(self._frequencies[images]))
        queries = spaces.transpose(1, 0, 2).reshape(-1, FEATURES)
        scores = np.empty((len(images), len(self._frequencies)), np.float32)
        for start in range(0, len(self._frequencies), IMAGES_AT_ONCE):
            parts = queries @ self._features[start : start + IMAGES_AT_ONCE].T
            np.square(parts, out=parts)
            parts.reshape(len(TRIMS), len(images), -1).sum(axis=0, out=scores[:, start : start + IMAGES_AT_ONCE])
        return scores

    @functools.cached_property
    def _spread(self) -> tuple[np.ndarray, np.ndarray]:
        return spread(self._frequencies[:, 0])

    @functools.cached_property
    def _wholes(self) -> np.ndarray:
        return whole_crops(self._frequencies[:, 0], *self._spread)

    @functools.cached_property
    def _principal_components(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the features, float32 [64], and the directions in which they differ most, float32 [64, 32].

        The directions are scaled so that the first do not outweigh the others.
        """
        features = fold(self._frequencies[:, 0], *self._spread).astype(np.float64)
        mean = features.mean(axis=0)
        features -= mean
        covariance = features.T @ features / len(features) + MIN_DEVIATION * np.eye(HASH_SIDE**2)
        values, directions = np.linalg.eigh(covariance)
        scaled = directions[:, -FEATURES:] / values[-FEATURES:] ** 0.25
        return mean.astype(np.float32), scaled.astype(np.float32)

    def _features_of(self, frequencies: np.ndarray) -> np.ndarray:
        mean, directions = self._principal_components
        return (fold(frequencies, *self._spread) - mean) @ directions

    @functools.cached_property
    def _features(self) -> np.ndarray:
        """Features of the whole crops, of length 1, float32 [n, 32]; 0 of blank ones."""
        features = _normalise(self._features_of(self._frequencies[:, 0]))
        features[np.isnan(self._frequencies[:, 0, 0, 0])] = 0
        return features


def spread(frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the frequencies, float32 [n, 8, 8], over all orientations, float32 [8, 8] each.

    Few images say little of either, so both are shrunk: the mean towards 0, the deviation towards a fall with the frequency.
    """
    whole, count = np.nan_to_num(frequencies), len(frequencies)
    square = (whole**2).mean(axis=0, dtype=np.float64)
    square = (square + square.T) / 2
    mean = orientations(whole.mean(axis=0, dtype=np.float64)).mean(axis=0)
    usual = USUAL_VARIANCE * (square[1:].sum() + square[0, 1:].sum())
    variance = (count * np.maximum(square - mean**2, 0) + SHRINKAGE_IMAGES * usual) / (count + SHRINKAGE_IMAGES)
    mean *= count / (count + SHRINKAGE_IMAGES)
    return mean.astype(np.float32), (np.sqrt(variance) + MIN_DEVIATION).astype(np.float32)


def fold(frequencies: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return standardised frequencies, float32 [..., 8, 8], as features that no orientation changes, float32 [..., 64].

    Flips change the signs of odd frequencies, so their absolute values count; transposes exchange rows and columns, so sums
    and absolute differences of two such frequencies do.
    """
    values = _standardise(frequencies, mean, deviation)
    np.abs(values, out=values, where=_ODD)
    upper, lower = values[..., _UPPER[0], _UPPER[1]], values[..., _UPPER[1], _UPPER[0]]
    diagonal = np.diagonal(values, axis1=-2, axis2=-1)
    return np.concatenate([diagonal, (upper + lower) / np.sqrt(2), np.abs(upper - lower) / np.sqrt(2)], axis=-1, dtype=np.float32)


def whole_crops(frequencies: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return brain crops, float32 [n, 8, 8], as unit vectors of standardised frequencies, float32 [n, 64]; 0 of blank ones."""
    return _normalise(_standardise(frequencies, mean, deviation).reshape(-1, HASH_SIDE**2))


def crop_spaces(frequencies: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return bases of the spaces that whole crops and their changes by the trims span, in eight orientations.

    Args:
        frequencies: Frequencies of brain crops, whole and trimmed, float32 [n, 5, 8, 8].
        mean: Mean of all frequencies, float32 [8, 8].
        deviation: Their standard deviation, float32 [8, 8].

    Returns:
        float32 [n, 5 * 8, 64]: five orthonormal vectors in each of eight orientations.
    """
    # An orientation turns all five alike, so one basis gives all eight.
    bases = _spanned(_standardise(frequencies, mean, deviation).reshape(-1, len(TRIMS), HASH_SIDE**2))
    turned = orientations(bases.reshape(-1, len(TRIMS), HASH_SIDE, HASH_SIDE))  # [n, 5, 8, 8, 8]
    return turned.reshape(-1, len(TRIMS) * 8, HASH_SIDE**2).astype(np.float32)


def resemblance(spaces: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how well an image, cropped at any of its sides, explains others, float32 [n, m], 0-1.

    It is the cosine of the angle between each of the others and the space of the image, in the best orientation: the tangent
    distance of Simard et al. 1993, "Efficient pattern recognition using a new transformation distance".

    Args:
        spaces: The bases of each image's space from `crop_spaces`, float32 [n, 5 * 8, 64].
        others: The others of each image, as `whole_crops` returns them, float32 [n, m, 64].
    """
    parts = spaces @ others.transpose(0, 2, 1)
    np.square(parts, out=parts)
    return np.sqrt(parts.reshape(len(spaces), len(TRIMS), 8, -1).sum(axis=1).max(axis=1))


def _standardise(frequencies: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return frequencies, float32 [..., 8, 8], in deviations from their mean, without brightness; 0 of blank ones."""
    values = np.nan_to_num((frequencies - mean) / deviation)
    values[..., 0, 0] = 0
    return values


def _spanned(vectors: np.ndarray) -> np.ndarray:
    """Return orthonormal bases of whole crops and their changes by the trims, both float32 [n, 5, features]."""
    whole = vectors[:, :1]
    changes = np.concatenate([whole, vectors[:, 1:] - whole], axis=1)
    return np.linalg.qr(changes.transpose(0, 2, 1))[0].transpose(0, 2, 1)


def _normalise(vectors: np.ndarray) -> np.ndarray:
    return vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + MIN_DEVIATION)
