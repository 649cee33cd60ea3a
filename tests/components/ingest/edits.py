"""Edits that turn an image, uint8 [h, w, 3], into a near copy."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter


def sharpen(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(radius=2, percent=200, threshold=0)))


def crop(pixels: np.ndarray) -> np.ndarray:
    """Cut 8 % of the height off the top and 8 % of the width off the right."""
    return pixels[round(0.08 * pixels.shape[0]) :, : round(0.92 * pixels.shape[1])]


def compress(pixels: np.ndarray) -> np.ndarray:
    """Save as JPEG of quality 30 and read again."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=30)
    return np.asarray(Image.open(buffer))


def all_three(pixels: np.ndarray) -> np.ndarray:
    return compress(sharpen(crop(pixels)))


def reorient(pixels: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Mirror left and right if `mirrored`, then rotate by `turns` quarter turns."""
    return np.ascontiguousarray(np.rot90(pixels[:, ::-1] if mirrored else pixels, turns))


EDITS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (sharpen, crop, compress, all_three)
