"""Correlate brain crops after alignment: it reveals copies that were cropped, sharpened or re-compressed.

Of the eight orientations the best one is taken. Then Gauss-Newton steps fit a shift and a scale along each axis
(Lucas and Kanade 1981, doi:10.5555/1623264.1623280), first at half resolution, then at full resolution.
"""

import numpy as np
from PIL import Image

from brain_tumor.brain_crop import brain_crop

THUMBNAIL_SIDE_PX = 48
COARSE_STEPS, FINE_STEPS = 6, 3
# Pairs below it at half resolution are no copies: the fine steps would add a few hundredths.
MIN_COARSE_CORRELATION = 0.88
MIN_OVERLAP = 0.6
SCALE_LIMITS = (0.75, 1.33)
MAX_STEP = 0.12
RIDGE = 2.5e-4
EPSILON = 1e-6
# Scale and shift along the rows, scale and shift along the columns; one unit is half a side.
IDENTITY = np.array([1, 0, 1, 0], np.float32)


def brain_thumbnail(grey: np.ndarray) -> np.ndarray:
    """Scale the brain crop of an image, uint8 [h, w], to uint8 [48, 48]; its aspect ratio is lost."""
    crop = Image.fromarray(grey[brain_crop(grey)])
    # Lanczos keeps the details that tell two brains apart: a triangle filter raises the correlation of different ones.
    return np.asarray(crop.resize((THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), Image.Resampling.LANCZOS))


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
    correlation, motion = _align(coarse_first, _orient(coarse_second, orientation), motion, COARSE_STEPS)
    close = np.flatnonzero(correlation > MIN_COARSE_CORRELATION)
    correlation[close], _ = _align(first[close], _orient(second[close], orientation[close]), motion[close], FINE_STEPS)
    return correlation


def _halve(images: np.ndarray) -> np.ndarray:
    side = images.shape[1] // 2
    return images.reshape(len(images), side, 2, side, 2).mean(axis=(2, 4))


def _orientations(images: np.ndarray) -> np.ndarray:
    """Return the eight orientations of each image, [8, n, side, side]."""
    mirrored = images[:, :, ::-1]
    return np.stack([np.rot90(each, turns, axes=(1, 2)) for each in (images, mirrored) for turns in range(4)])


def _best_orientation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the index of the orientation of `second` that correlates best with `first`, int [n]."""
    inside = np.ones_like(first)
    reference = _standardise(first, inside)
    return np.stack([(reference * _standardise(each, inside)).sum(axis=(1, 2)) for each in _orientations(second)]).argmax(axis=0)


def _orient(images: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    return _orientations(images)[orientation, np.arange(len(images))]


def _align(first: np.ndarray, second: np.ndarray, motion: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Move `second` onto `first`; return the best correlation on the way, float32 [n], and its motion, float32 [n, 4]."""
    best, best_motion = np.full(len(first), -1, np.float32), motion.copy()
    for step in range(steps + 1):
        moved, inside = _move(second, motion)
        reference, moved = _standardise(first, inside), _standardise(moved, inside)
        correlation = np.where(inside.mean(axis=(1, 2)) >= MIN_OVERLAP, (reference * moved).sum(axis=(1, 2)), -1)
        better = correlation > best
        best[better], best_motion[better] = correlation[better], motion[better]
        if step < steps:
            motion = motion + _gauss_newton_step(reference, moved, inside)
            motion[:, [0, 2]] = np.clip(motion[:, [0, 2]], *SCALE_LIMITS)
    return best, best_motion


def _move(images: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Resample the images linearly; return them and, as 0 or 1, which pixels come from inside the image."""
    axis = _axis(images.shape[1])
    rows, columns = (motion[:, [part]] * axis + motion[:, [part + 1]] for part in (0, 2))
    row_weights, column_weights = (
        np.clip(1 - np.abs(positions[:, :, None] - axis) * (len(axis) / 2), 0, 1) for positions in (rows, columns)
    )
    inside = (np.abs(rows) <= 1)[:, :, None] & (np.abs(columns) <= 1)[:, None]
    return row_weights @ images @ column_weights.transpose(0, 2, 1), inside.astype(np.float32)


def _gauss_newton_step(reference: np.ndarray, moved: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the change of the motion that brings `moved` nearest to `reference`, float32 [n, 4]."""
    n, side, _ = moved.shape
    axis = _axis(side)
    along_rows, along_columns = (gradient * inside for gradient in np.gradient(moved, 2 / side, axis=(1, 2)))
    parts = (along_rows * axis[:, None], along_rows, along_columns * axis, along_columns)
    jacobian = np.stack(parts, axis=1).reshape(n, 4, side**2)
    normal = jacobian @ jacobian.transpose(0, 2, 1)
    damping = RIDGE * np.trace(normal, axis1=1, axis2=2) + EPSILON  # a flat image has no gradient to solve for
    normal += damping[:, None, None] * np.eye(4, dtype=np.float32)
    step = np.linalg.solve(normal, jacobian @ (reference - moved).reshape(n, side**2, 1))[..., 0]
    return np.clip(step, -MAX_STEP, MAX_STEP)


def _axis(side: int) -> np.ndarray:
    """Return the centres of the pixels, float32 [side], between -1 and 1."""
    return ((2 * np.arange(side) + 1) / side - 1).astype(np.float32)


def _standardise(images: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the images with mean 0 and norm 1 over the pixels inside, and 0 outside."""
    pixels = inside.sum(axis=(1, 2), keepdims=True) + EPSILON
    centred = (images - (images * inside).sum(axis=(1, 2), keepdims=True) / pixels) * inside
    return centred / (np.linalg.norm(centred, axis=(1, 2), keepdims=True) + EPSILON)
