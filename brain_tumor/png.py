"""Encode pixels as PNG in little time."""

import struct
import zlib

import numpy as np
from isal import isal_zlib

from brain_tumor.formats import PNG_START

GREY, RGB, UP_FILTER = 0, 2, 2


def encode_pixels(pixels: np.ndarray) -> bytes:
    """Encode uint8 [height, width] or [height, width, 3] as a PNG (ISO/IEC 15948), each row as its difference to the row above.

    Pillow selects a filter for each row. This encoder takes a fifth of its time, which dominates an explanation.
    """
    height, width, *channels = pixels.shape
    samples = pixels.reshape(height, -1)
    rows = np.empty((height, 1 + samples.shape[1]), np.uint8)
    rows[:, 0] = UP_FILTER
    rows[0, 1:] = samples[0]
    np.subtract(samples[1:], samples[:-1], out=rows[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, RGB if channels else GREY, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", isal_zlib.compress(rows, level=1)), (b"IEND", b""))
    return PNG_START + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
