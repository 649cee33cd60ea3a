"""Correlate brain crops after alignment: it reveals copies that were cropped, sharpened or re-compressed.

Of the eight orientations the best one is taken. Then Gauss-Newton steps fit a shift and a scale along each axis
(Lucas and Kanade 1981, doi:10.5555/1623264.1623280), first at half resolution, then at full resolution.
"""

import numpy as np

from brain_tumor.brain_crop import brain_crop
from components.ingest.lanczos import scale

THUMBNAIL_SIDE_PX = 48
COARSE_STEPS, FINE_STEPS = 6, 3
# Copies correlate above it. Pairs below the second value at half resolution are none: the fine steps would add a few hundredths.
MIN_CORRELATION, MIN_COARSE_CORRELATION = 0.965, 0.88
# Nor do they make up for less than this after the first of them.
MIN_FINE_CORRELATION = 0.92
# Most pairs soon gain less. With all steps one in fifty of the copies that the hash misses correlates above the minimum besides.
MIN_GAIN = 0.005
MIN_OVERLAP = 0.6
SCALE_LIMITS = (0.75, 1.33)
MAX_STEP = 0.12
RIDGE = 2.5e-4
EPSILON = 1e-6
# Scale and shift along the rows, scale and shift along the columns; one unit is half a side.
IDENTITY = np.array([1, 0, 1, 0], np.float32)


def brain_thumbnail(grey: np.ndarray) -> np.ndarray:
    """Scale the brain crop of an image, uint8 [h, w], to uint8 [48, 48]; its aspect ratio is lost."""
    # Lanczos keeps the details that tell two brains apart: a triangle filter raises the correlation of different ones.
    return scale(grey[brain_crop(grey)], THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX)


def aligned_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the Pearson correlation of each pair after alignment, float32 [n], -1 to 1.

    It covers the overlap, at least 60 % of the thumbnail. Below 0.88 it is the correlation at half resolution.

    Args:
        first: First thumbnail of each pair, uint8 [n, 48, 48].
        second: Second thumbnail of each pair, uint8 [n, 48, 48].
    """
    first, second = first.astype(np.float32), second.astype(np.float32)
    coarse_first, coarse_second = _halve(first), _halve(second)
    orientation = _best_orientation(coarse_first, coarse_second)
    motion = np.tile(IDENTITY, (len(first), 1))
    correlation, motion = _align(coarse_first, _orient(coarse_second, orientation), motion, COARSE_STEPS, -1)
    close = np.flatnonzero(correlation > MIN_COARSE_CORRELATION)
    second = _orient(second[close], orientation[close])
    correlation[close], _ = _align(first[close], second, motion[close], FINE_STEPS, MIN_FINE_CORRELATION)
    return correlation


def _halve(images: np.ndarray) -> np.ndarray:
    rows = images[:, ::2] + images[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4


def _orientations(images: np.ndarray) -> np.ndarray:
    """Return the eight orientations of each image, [8, n, side, side]."""
    mirrored = images[:, :, ::-1]
    return np.stack([np.rot90(each, turns, axes=(1, 2)) for each in (images, mirrored) for turns in range(4)])


def _best_orientation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the index of the orientation of `second` that correlates best with `first`, int [n]."""
    inside = np.ones_like(first)
    reference = _standardise(first, inside)
    standardised = _standardise(second, inside)  # which no orientation changes
    return np.stack([_dot(reference, each) for each in _orientations(standardised)]).argmax(axis=0)


def _orient(images: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    return _orientations(images)[orientation, np.arange(len(images))]


def _align(first: np.ndarray, second: np.ndarray, motion: np.ndarray, steps: int, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Move `second` onto `first`; return the best correlation on the way, float32 [n], and its motion, float32 [n, 4].

    A pair takes no more steps when one gains less than `MIN_GAIN` and the correlation is not above the minimum, or when it is
    below `least` after the first.
    """
    best, best_motion = np.full(len(first), -1, np.float32), motion.copy()
    moving = np.arange(len(first))
    for step in range(steps + 1):
        moved, inside = _move(second, motion)
        reference, moved = _standardise(first, inside), _standardise(moved, inside)
        correlation = np.where(inside.mean(axis=(1, 2)) >= MIN_OVERLAP, _dot(reference, moved), -1)
        before = best[moving]
        better = correlation > before
        best[moving[better]], best_motion[moving[better]] = correlation[better], motion[better]
        if step == steps:
            break
        if step > 0:
            go_on = (best[moving] > MIN_CORRELATION) | (correlation - before >= MIN_GAIN) & (correlation >= least)
            moving, first, second, motion = moving[go_on], first[go_on], second[go_on], motion[go_on]
            reference, moved, inside = reference[go_on], moved[go_on], inside[go_on]
        motion = motion + _gauss_newton_step(reference, moved, inside)
        motion[:, [0, 2]] = np.clip(motion[:, [0, 2]], *SCALE_LIMITS)
    return best, best_motion


def _move(images: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Resample the images linearly; return them and, as 0 or 1, which pixels come from inside the image."""
    axis = _axis(images.shape[1])
    rows, columns = (motion[:, [part]] * axis + motion[:, [part + 1]] for part in (0, 2))
    inside = (np.abs(rows) <= 1)[:, :, None] & (np.abs(columns) <= 1)[:, None]
    return _weights(rows, axis) @ images @ _weights(columns, axis).transpose(0, 2, 1), inside.astype(np.float32)


def _weights(positions: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return the weight of each pixel of the axis at each position, float32 [n, positions, pixels]."""
    weights = positions[:, :, None] - axis
    np.abs(weights, out=weights)
    weights *= -len(axis) / 2
    weights += 1
    return np.maximum(weights, 0, out=weights)


def _gauss_newton_step(reference: np.ndarray, moved: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the change of the motion that brings `moved` nearest to `reference`, float32 [n, 4]."""
    n, side, _ = moved.shape
    axis = _axis(side)
    parts = np.empty((n, 4, side, side), np.float32)
    for change, gradient, places in ((0, _gradient(moved, 1), axis[:, None]), (2, _gradient(moved, 2), axis)):
        np.multiply(gradient, inside, out=parts[:, change + 1])
        np.multiply(parts[:, change + 1], places, out=parts[:, change])
    jacobian = parts.reshape(n, 4, side**2)
    normal = jacobian @ jacobian.transpose(0, 2, 1)
    damping = RIDGE * np.trace(normal, axis1=1, axis2=2) + EPSILON  # a flat image has no gradient to solve for
    normal += damping[:, None, None] * np.eye(4, dtype=np.float32)
    step = np.linalg.solve(normal, jacobian @ (reference - moved).reshape(n, side**2, 1))[..., 0]
    return np.clip(step, -MAX_STEP, MAX_STEP)


def _gradient(images: np.ndarray, along: int) -> np.ndarray:
    """Return `np.gradient(images, 2 / side, axis=along)`, which takes twice as long."""
    values, gradient = np.swapaxes(images, 0, along), np.empty_like(images)
    steps = np.swapaxes(gradient, 0, along)
    np.subtract(values[2:], values[:-2], out=steps[1:-1])
    steps[1:-1] *= 0.5
    np.subtract(values[1], values[0], out=steps[0])
    np.subtract(values[-1], values[-2], out=steps[-1])
    gradient *= images.shape[1] / 2
    return gradient


def _axis(side: int) -> np.ndarray:
    """Return the centres of the pixels, float32 [side], between -1 and 1."""
    return ((2 * np.arange(side) + 1) / side - 1).astype(np.float32)


def _standardise(images: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the images with mean 0 and norm 1 over the pixels inside, and 0 outside."""
    centred = images - (_dot(images, inside) / (inside.sum(axis=(1, 2)) + EPSILON))[:, None, None]
    centred *= inside
    centred /= (np.sqrt(_dot(centred, centred)) + EPSILON)[:, None, None]
    return centred


def _dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the sum of the products of each pair of images, float32 [n]."""
    return np.einsum("nij,nij->n", first, second)
