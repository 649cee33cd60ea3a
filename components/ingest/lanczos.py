"""Scale grey images with Pillow's Lanczos filter, to the very levels of Pillow, in less time, and many of one size at once.

Pillow computes the weights of the filter again for each image, in fixed point. Here they are kept, and a pass along an axis is a
product of matrices, whose sums are exact: the weights are multiples of 2**-22, and float64 has 53 bits.
"""

import functools

import numpy as np

LOBES = 3
FIXED_POINT = 2.0**22
# A pixel of the result depends on few pixels of the image, so a product is taken for some of them at a time.
BLOCK_PX = 16
ROWS_AT_ONCE = 256

# Pixels of an axis, pixels of the result, and the weight of each in each, float64 [pixels, result].
Block = tuple[slice, slice, np.ndarray]


def scale(images: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Return the images as `Image.resize((width_px, height_px), Image.Resampling.LANCZOS)` of Pillow 13 does.

    Args:
        images: Grey levels, uint8 [..., h, w].
        height_px: Height of the result.
        width_px: Width of the result.

    Returns:
        uint8 [..., height_px, width_px].
    """
    height, width = images.shape[-2:]
    # Pillow rounds after the first pass. It is that along the height only if the height shrinks by more pixels.
    if height > height_px and height - height_px > 2 * (width - width_px):
        return _scale(images.swapaxes(-1, -2), width_px, height_px).swapaxes(-1, -2)
    return _scale(images, height_px, width_px)


def _scale(images: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Scale the width first."""
    *many, height, width = images.shape
    rows = images.reshape(-1, width)
    narrow = np.empty((len(rows), width_px))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        levels = rows[start : start + ROWS_AT_ONCE].astype(np.float64)
        for pixels, result, weights in _weights(width, width_px):
            narrow[start : start + ROWS_AT_ONCE, result] = levels[:, pixels] @ weights
    narrow = _round(narrow).reshape(*many, height, width_px)
    scaled = np.empty((*many, height_px, width_px))
    for pixels, result, weights in _weights(height, height_px):
        scaled[..., result, :] = weights.T @ narrow[..., pixels, :]
    return _round(scaled).astype(np.uint8)


def _round(sums: np.ndarray) -> np.ndarray:
    """Round to levels from 0 to 255, in place."""
    sums += 0.5
    return np.floor(np.clip(sums, 0, 255, out=sums), out=sums)


@functools.lru_cache(maxsize=256)
def _weights(side_px: int, scaled_px: int) -> list[Block]:
    """Return the blocks of a pass along an axis."""
    step = side_px / scaled_px
    reach = max(step, 1.0)
    centres = (np.arange(scaled_px) + 0.5) * step
    first = np.maximum(centres - LOBES * reach + 0.5, 0).astype(int)
    end = np.minimum((centres + LOBES * reach + 0.5).astype(int), side_px)
    blocks = []
    for start in range(0, scaled_px, BLOCK_PX):
        result = slice(start, min(start + BLOCK_PX, scaled_px))
        pixels = slice(int(first[start]), int(end[result.stop - 1]))
        places = np.arange(pixels.start, pixels.stop)[:, None]
        weights = _lanczos((places - centres[result] + 0.5) / reach)
        weights[(places < first[result]) | (places >= end[result])] = 0
        weights *= FIXED_POINT / weights.sum(axis=0)
        blocks.append((pixels, result, np.rint(weights) / FIXED_POINT))
    return blocks


def _lanczos(places: np.ndarray) -> np.ndarray:
    """Return sinc(x) sinc(x / 3) from -3 to 3, and 0 outside; by sin(3 a) = sin(a) (3 - 4 sin(a)**2), for a sine takes long."""
    angles = np.pi / LOBES * places
    angles[angles == 0] = 1e-9
    squares = np.sin(angles) ** 2
    weights = squares * (3 - 4 * squares) / (3 * angles**2)
    weights[np.abs(places) >= LOBES] = 0
    return weights
