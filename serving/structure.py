"""Whether a file is built exactly as its format says.

Pillow forgives a missing end, a wrong checksum or bytes between the blocks; TensorFlow's decoders refuse them, and one refused
picture fails all that share its batch. Checks of the frame only: nothing is decoded here.
"""

import io
import re
import struct

import numpy as np
from PIL import Image

PNG_END = b"\0\0\0\0IEND\xae\x42\x60\x82"
JPEG_START_OF_SCAN, JPEG_END = 0xDA, 0xD9
JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_HUFFMAN_FRAMES = {0xC0, 0xC1, 0xC2}
JPEG_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
GIF_EXTENSION, GIF_FRAME, GIF_END = b"!", b",", b";"


def is_plain_jpeg(data: bytes) -> bool:
    """Tell whether the segments follow one another up to the end marker, baseline or progressive, Huffman-coded."""
    position = 2
    while data[position : position + 1] == b"\xff" and len(data) >= position + 4:
        marker, length = struct.unpack_from(">xBH", data, position)
        if marker in JPEG_FRAMES - JPEG_HUFFMAN_FRAMES:
            return False
        position += 2 + length
        if marker == JPEG_START_OF_SCAN:
            following = JPEG_NEXT_MARKER.search(data, position)
            if following is None:
                return False
            position = following.start()
            if data[position + 1] == JPEG_END:
                return True
    return False


def is_plain_png(data: bytes) -> bool:
    """Tell whether the samples have 8 bits, every chunk its checksum, and nothing is missing or appended."""
    bit_depth = data[24]
    if bit_depth != 8 or not data.endswith(PNG_END):
        return False
    try:
        Image.open(io.BytesIO(data), formats=["PNG"]).verify()
    except (OSError, SyntaxError):
        return False
    return True


def is_plain_gif(data: bytes, image: Image.Image) -> bool:
    """Tell whether it is one opaque frame that fills the screen, uses only colours of its table, and is followed by the end.

    Args:
        data: the encoded picture.
        image: the same, decoded.
    """
    screen, flags = data[6:10], data[10]
    position = 13 + _gif_colours(flags) * 3
    frames = []
    while data[position : position + 1] in (GIF_EXTENSION, GIF_FRAME) and len(data) > position + 10:
        if data[position : position + 1] == GIF_FRAME:
            local_flags = data[position + 9]
            frames.append((data[position + 1 : position + 9], _gif_colours(local_flags) or _gif_colours(flags)))
            position += 11 + _gif_colours(local_flags) * 3
        else:
            position += 2
        position = _after_gif_blocks(data, position)
    if len(frames) != 1 or data[position:] != GIF_END or "transparency" in image.info:
        return False
    box, colours = frames[0]
    return box == b"\0\0\0\0" + screen and int(np.asarray(image).max()) < colours


def is_plain_bmp(data: bytes) -> bool:
    """Tell whether it has 24 bits a pixel, no compression, and exactly as many bytes as its header says."""
    offset, header_size, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    row_bytes = (abs(width) * 3 + 3) // 4 * 4
    return header_size >= 40 and bits == 24 and compression == 0 and len(data) == offset + row_bytes * abs(height)


def _gif_colours(flags: int) -> int:
    return 2 << (flags & 7) if flags & 0x80 else 0


def _after_gif_blocks(data: bytes, position: int) -> int:
    """Return where a chain of data blocks ends; beyond the end of the data where it breaks off."""
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1
