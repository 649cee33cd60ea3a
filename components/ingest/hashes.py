"""Hash the pixels of an image, for exact copies, and its appearance, for near copies (near-duplicates).

The perceptual hash is the 64-bit DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010),
in the variant of the Python package imagehash (`phash`): 32 x 32 grey, unnormalised DCT-II, 8 x 8 low frequencies
compared with their median. imagehash itself needs one DCT per orientation; here one DCT gives all eight.
"""

import hashlib

import numpy as np
from PIL import Image

from components.ingest.lanczos import scale

HASH_SIDE = 8
GREY_SIDE = 32
# Below this standard deviation (grey levels) an image is blank: the signs of its frequencies are rounding noise.
BLANK_DEVIATION = 1.0
BLOCK = 1024  # images hashed at a time: the orientations take 8 times the memory of the frequencies

_FREQUENCY = np.arange(HASH_SIDE)
_DCT = 2 * np.cos(np.pi * _FREQUENCY[:, None] * (2 * np.arange(GREY_SIDE) + 1) / (2 * GREY_SIDE))
_FLIP = np.where(_FREQUENCY % 2, -1.0, 1.0)


def pixel_hash(pixels: np.ndarray) -> str:
    """Return the SHA-256 of shape and pixels: equal only for identical pixels. Grey pixels count as RGB.

    Args:
        pixels: RGB or grey pixels, uint8 [h, w, 3] or [h, w], 0-255.
    """
    if pixels.ndim == 3 and (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
        pixels = pixels[..., 0]
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).data).hexdigest()


def low_frequencies(pixels: np.ndarray) -> np.ndarray:
    """Return the 8 x 8 lowest DCT frequencies of an image, float64 [8, 8]; all NaN if it is blank.

    Args:
        pixels: RGB or grey pixels, uint8 [h, w, 3] or [h, w], 0-255.
    """
    grey = pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))
    levels = scale(grey, GREY_SIDE, GREY_SIDE).astype(np.float64)
    variance = np.vdot(levels, levels) / levels.size - levels.mean() ** 2  # exact: levels are whole numbers
    return _DCT @ levels @ _DCT.T if variance >= BLANK_DEVIATION**2 else np.full((HASH_SIDE, HASH_SIDE), np.nan)


def orientations(frequencies: np.ndarray) -> np.ndarray:
    """Return the frequencies of an image in its eight orientations: flips change signs, transposes give the other four.

    Args:
        frequencies: Frequencies, float [..., 8, 8].

    Returns:
        float [..., 8, 8, 8]; the first is the original orientation.
    """
    flips = [(1.0, 1.0), (1.0, _FLIP), (_FLIP[:, None], 1.0), (_FLIP[:, None], _FLIP)]
    turned = [frequencies * rows * columns for rows, columns in flips]
    return np.stack(turned + [orientation.swapaxes(-1, -2) for orientation in turned], axis=-3)


def perceptual_hashes(frequencies: np.ndarray) -> np.ndarray:
    """Hash each image in its eight orientations.

    Args:
        frequencies: Frequencies from `low_frequencies`, float64 [n, 8, 8].

    Returns:
        The hashes, uint64 [n, 8]; column 0 is the original orientation.
    """
    hashes = np.empty((len(frequencies), 8), np.uint64)
    for start in range(0, len(frequencies), BLOCK):
        flat = orientations(frequencies[start : start + BLOCK]).reshape(-1, 8, HASH_SIDE**2)
        bits = flat > np.median(flat, axis=2, keepdims=True)
        hashes[start : start + BLOCK] = np.packbits(bits, axis=2).view(">u8")[..., 0]
    return hashes
