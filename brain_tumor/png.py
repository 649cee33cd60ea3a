"""Encode pixels as PNG in little time."""

import struct

import numpy as np
from isal import isal_zlib

from brain_tumor.formats import PNG_START

GREY, RGB, UP_FILTER = 0, 2, 2
ROWS_PER_BLOCK = 256


def encode_pixels(pixels: np.ndarray) -> bytes:
    """Encode uint8 [height, width] or [height, width, 3] as a PNG (ISO/IEC 15948), each row as its difference to the row above.

    Pillow selects a filter for each row. This encoder takes a fifth of its time, which dominates an explanation.
    """
    height, width, *channels = pixels.shape
    samples = pixels.reshape(height, -1)
    compressor, compressed = isal_zlib.compressobj(level=1), []
    for start in range(0, height, ROWS_PER_BLOCK):  # a second copy of a large image would be in memory otherwise
        block = samples[start : start + ROWS_PER_BLOCK]
        rows = np.empty((len(block), 1 + block.shape[1]), np.uint8)
        rows[:, 0] = UP_FILTER
        rows[0, 1:] = block[0] - samples[start - 1] if start else block[0]
        np.subtract(block[1:], block[:-1], out=rows[1:, 1:])
        compressed.append(compressor.compress(rows))
    data = b"".join([*compressed, compressor.flush()])
    header = struct.pack(">IIBBBBB", width, height, 8, RGB if channels else GREY, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return PNG_START + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", isal_zlib.crc32(data, isal_zlib.crc32(kind)))
