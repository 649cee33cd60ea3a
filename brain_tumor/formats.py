"""Check which files conform to their format and can pass unchanged to TensorFlow's decoders.

Pillow accepts truncated files, wrong checksums and stray bytes. TensorFlow's decoders reject them, and one rejected image fails
its batch. These checks read the structure of a file and decode no pixels.
"""

import re
import struct
import zlib

import numpy as np
from isal import igzip_lib, isal_zlib
from PIL import Image

PNG_LETTERS = {b"IHDR": "H", b"PLTE": "P", b"IDAT": "D", b"IEND": "E"}
PNG_ORDER = re.compile("Ha*(Pa*)?D+a*E")  # a: an ancillary chunk, which a decoder may skip
PNG_PALETTE, PNG_GREYS = 3, (0, 4)
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
SINGLE_PASS = ((0, 0, 1, 1),)  # first column, first row, column step, row step
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
INFLATE_CHUNK_BYTES = 1024 * 1024
JPEG_START_OF_SCAN, JPEG_END = 0xDA, 0xD9
MAX_JPEG_SCANS = 100  # a progressive image usually has ten
JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_HUFFMAN_FRAMES = {0xC0, 0xC1, 0xC2}
JPEG_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
GIF_EXTENSION, GIF_FRAME, GIF_END = b"!", b",", b";"


def is_jpeg_bomb(data: bytes) -> bool:
    """Check for a JPEG that takes minutes to decode: many scans, or a long run of fill bytes before a marker."""
    return data.startswith(b"\xff\xd8") and (data.count(b"\xff\xda") > MAX_JPEG_SCANS or b"\xff" * 1000 in data)


def is_passthrough_jpeg(data: bytes) -> bool:
    """Check for a baseline or progressive, Huffman-coded JPEG whose segments are contiguous up to the end marker."""
    position = 2
    while data[position : position + 1] == b"\xff" and len(data) >= position + 4:
        marker, length = struct.unpack_from(">xBH", data, position)
        if marker in JPEG_FRAMES - JPEG_HUFFMAN_FRAMES:
            return False
        position += 2 + length
        if marker == JPEG_START_OF_SCAN:
            next_marker = JPEG_NEXT_MARKER.search(data, position)
            if next_marker is None:
                return False
            position = next_marker.start()
            if data[position + 1] == JPEG_END:
                return True
    return False


def is_passthrough_png(data: bytes) -> bool:
    """Check for a PNG of 8-bit samples whose chunks conform to ISO/IEC 15948, with nothing missing or appended."""
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
    for left, top, column_step, row_step in ADAM7 if interlaced else SINGLE_PASS:
        columns, rows = -(-max(width - left, 0) // column_step), -(-max(height - top, 0) // row_step)
        size += rows * (1 + columns * PNG_CHANNELS[colour]) if columns else 0
    return _inflates([body for kind, body in chunks if kind == b"IDAT"], size)


def _png_chunks(data: bytes) -> list[tuple[bytes, memoryview]]:
    """Return type and data of every chunk; an empty list if a length or a checksum is wrong."""
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


def _inflates(parts: list[memoryview], expected_bytes: int) -> bool:
    """Check that the parts are one zlib stream with a valid checksum that inflates to `expected_bytes`."""
    inflater, size = isal_zlib.decompressobj(), 0
    try:
        for part in parts:
            pending = bytes(part)
            while pending and not inflater.eof and size <= expected_bytes:
                size += len(inflater.decompress(pending, INFLATE_CHUNK_BYTES))
                pending = inflater.unconsumed_tail
    except igzip_lib.IsalError:  # type: ignore[misc]
        return False
    return inflater.eof and not inflater.unused_data and size == expected_bytes


def is_passthrough_gif(data: bytes, image: Image.Image) -> bool:
    """Check for a GIF with one opaque frame that fills the screen, with all colours in its table, and nothing after it.

    Args:
        data: Encoded image.
        image: The decoded image.
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
    """Check for an uncompressed BMP of 24 bits a pixel, with exactly the length that its header declares."""
    offset, header_size, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    row_bytes = (abs(width) * 3 + 3) // 4 * 4
    return header_size >= 40 and bits == 24 and compression == 0 and len(data) == offset + row_bytes * abs(height)


def _gif_colours(flags: int) -> int:
    return 2 << (flags & 7) if flags & 0x80 else 0


def _after_gif_blocks(data: bytes, position: int) -> int:
    """Return the position after a chain of data blocks; it is beyond the end of truncated data."""
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1
