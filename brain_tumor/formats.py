"""Whether a file is built exactly as its format says.

Pillow forgives a missing end, a wrong checksum or bytes between the blocks; TensorFlow's decoders refuse them, and one refused
image fails all that share its batch. Checks of the frame only: nothing is decoded here.
"""

import re
import struct
import zlib

import numpy as np
from isal import igzip_lib, isal_zlib
from PIL import Image

PNG_LETTERS = {b"IHDR": "H", b"PLTE": "P", b"IDAT": "D", b"IEND": "E"}
PNG_ORDER = re.compile("Ha*(Pa*)?D+a*E")  # a: a chunk that a decoder may skip
PNG_PALETTE, PNG_GREYS = 3, (0, 4)
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of each colour type
WHOLE = ((0, 0, 1, 1),)  # first column and row, and the steps between them
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
INFLATED_AT_ONCE = 1024 * 1024
JPEG_START_OF_SCAN, JPEG_END = 0xDA, 0xD9
MAX_JPEG_SCANS = 100  # of a progressive image; ten are usual
JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_HUFFMAN_FRAMES = {0xC0, 0xC1, 0xC2}
JPEG_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
GIF_EXTENSION, GIF_FRAME, GIF_END = b"!", b",", b";"


def is_jpeg_bomb(data: bytes) -> bool:
    """Tell whether decoding would take minutes: many scans of one image, or a long run of fill bytes before a marker."""
    return data.startswith(b"\xff\xd8") and (data.count(b"\xff\xda") > MAX_JPEG_SCANS or b"\xff" * 1000 in data)


def is_passthrough_jpeg(data: bytes) -> bool:
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


def is_passthrough_png(data: bytes) -> bool:
    """Tell whether the samples have 8 bits and the chunks follow ISO/IEC 15948, with nothing missing or appended."""
    chunks = _png_chunks(data)
    order = "".join(PNG_LETTERS.get(kind, "a" if kind.isalpha() and kind[:1].islower() else "?") for kind, _ in chunks)
    if not PNG_ORDER.fullmatch(order) or len(chunks[0][1]) != 13:
        return False
    width, height, bits, colour, *methods, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    palette = [len(body) for kind, body in chunks if kind == b"PLTE"]
    if (
        bits != 8
        or methods != [0, 0]
        or colour not in PNG_CHANNELS
        or interlaced > 1
        or (colour == PNG_PALETTE and not palette)
        or (colour in PNG_GREYS and palette)
    ):
        return False
    if any(size % 3 or not 3 <= size <= 768 for size in palette):
        return False
    size = 0
    for left, top, across, down in ADAM7 if interlaced else WHOLE:
        columns, rows = -(-max(width - left, 0) // across), -(-max(height - top, 0) // down)
        size += rows * (1 + columns * PNG_CHANNELS[colour]) if columns else 0
    return _inflates([body for kind, body in chunks if kind == b"IDAT"], size)


def _png_chunks(data: bytes) -> list[tuple[bytes, memoryview]]:
    """Return kind and body of every chunk; nothing where a length or a checksum is wrong."""
    view, position, chunks = memoryview(data), 8, []
    while position < len(data):
        if position + 12 > len(data):
            return []
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data) or zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            return []
        chunks.append((kind, view[position + 8 : end - 4]))
        position = end
    return chunks


def _inflates(parts: list[memoryview], wanted: int) -> bool:
    """Tell whether the parts are one zlib stream, its checksum included, of `wanted` bytes."""
    inflater, size = isal_zlib.decompressobj(), 0
    try:
        for part in parts:
            pending = bytes(part)
            while pending and not inflater.eof and size <= wanted:
                size += len(inflater.decompress(pending, INFLATED_AT_ONCE))
                pending = inflater.unconsumed_tail
    except igzip_lib.IsalError:  # type: ignore[misc]
        return False
    return inflater.eof and not inflater.unused_data and size == wanted


def is_passthrough_gif(data: bytes, image: Image.Image) -> bool:
    """Tell whether it is one opaque frame that fills the screen, uses only colours of its table, and is followed by the end.

    Args:
        data: the encoded image.
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


def is_passthrough_bmp(data: bytes) -> bool:
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
