"""Read the structure of JPEG and PNG files, without decoding pixels.

It tells what the pixels depend on from metadata that no step needs, such as colour profiles, thumbnails, comments and appended
bytes, and finds the files that can pass unchanged to TensorFlow's decoders. Pillow accepts truncated files, wrong checksums and
stray bytes; TensorFlow's decoders reject them, and one rejected image fails its batch.
"""

import re
import struct
import zlib
from typing import NamedTuple

from isal import igzip_lib, isal_zlib

JPEG_START, PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
JPEG_START_OF_IMAGE, JPEG_END, JPEG_START_OF_SCAN = 0xD8, 0xD9, 0xDA
JPEG_IGNORED = {0x01, *range(0xD0, 0xD8)}  # restart markers and others without a length
JPEG_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
JPEG_HUFFMAN_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended sequential, progressive
MAX_JPEG_SCANS = 100  # a progressive image usually has ten
MAX_JPEG_SEGMENTS = 10_000  # that are needed: headers, tables and scans
JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
JPEG_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
JPEG_FILL_BYTES = re.compile(rb"\xff{2,}")
# Application segments that a decoder needs, by marker: names, and the lengths below which it ignores them.
JPEG_APPLICATION_NEEDED = {
    0xE0: ((b"JFIF\0", 14),),
    0xE1: ((b"Exif\0\0", 0), (b"http://ns.adobe.com/xap/1.0/\0", 0)),
    0xEE: ((b"Adobe", 12),),
}
JPEG_METADATA = {*range(0xE0, 0xF0), 0xFE} - set(JPEG_APPLICATION_NEEDED)  # of other applications, and comments

PNG_LETTERS = {b"IHDR": "H", b"PLTE": "P", b"IDAT": "D", b"IEND": "E"}
PNG_ORDER = re.compile("Ha*(Pa*)?D+a*E")  # a: an ancillary chunk, which a decoder may skip
PNG_TRANSPARENCY, PNG_ANIMATION, PNG_EXIF = b"tRNS", b"acTL", b"eXIf"
PNG_NEEDED = {PNG_TRANSPARENCY, PNG_ANIMATION, b"fcTL", b"fdAT"}  # ancillary chunks that say what is seen
PNG_ORIENTATION = re.compile(rb"Raw profile type exif\0|XML:com\.adobe\.xmp\0\0")  # the text chunks with a rotation
PNG_PALETTE, PNG_GREY = 3, 0
PNG_CHANNELS = {0: 1, 2: 3, 3: 1}  # by colour type, of those without alpha
SINGLE_PASS = ((0, 0, 1, 1),)  # first column, first row, column step, row step
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
INFLATE_CHUNK_BYTES = MAX_TEXT_BYTES = 1024 * 1024

Chunk = tuple[bytes, memoryview]


class Structure(NamedTuple):
    """The structure of an image file.

    Attributes:
        needed: The file without what its pixels do not depend on.
        passes: Whether TensorFlow decodes the unchanged file to the image as displayed, but for a rotation by its metadata.
        is_bomb: Whether it is a JPEG with more scans, or tables for them, than are decoded.
        may_turn: Whether it is a PNG with metadata that may turn or mirror it, which Pillow reads after the pixels.
        frame: Marker and number of bits of a JPEG's frame header; zeros if there is none.
    """

    needed: bytes
    passes: bool = False
    is_bomb: bool = False
    may_turn: bool = False
    frame: tuple[int, int] = (0, 0)


def read_structure(data: bytes) -> Structure:
    """Read the structure of a JPEG or PNG; any other file is needed as it is, and does not pass."""
    if data.startswith(JPEG_START):
        return _read_jpeg(data)
    return _read_png(data) if data.startswith(PNG_START) else Structure(data)


def _read_jpeg(data: bytes) -> Structure:
    """A JPEG passes if it is baseline or progressive, and its segments are contiguous up to the end marker."""
    needed, position, scans, frames, contiguous, ended = [data[:2]], 2, 0, [], True, False
    while (found := JPEG_MARKER.search(data, position)) and scans <= MAX_JPEG_SCANS and len(needed) <= 2 * MAX_JPEG_SEGMENTS:
        if found.start() != position:
            contiguous &= not data[position : found.start()].strip(b"\xff")
        marker, position = data[found.end() - 1], found.end()
        if marker in JPEG_IGNORED:
            continue
        ended = marker == JPEG_END
        if ended or marker == JPEG_START_OF_IMAGE:  # a decoder rejects a second one
            needed.append(found.group())
            break
        length = max(2, int.from_bytes(data[position : position + 2], "big"))
        if marker in JPEG_METADATA:
            position += length
            continue
        segment = data[position : position + length]
        position += length
        if _is_needed(marker, segment[2:]):
            needed += [found.group(), segment]
        if marker in JPEG_FRAMES and len(segment) > 2:
            frames.append((marker, segment[2]))
        if marker == JPEG_START_OF_SCAN:
            scans += 1
            end = JPEG_MARKER_AFTER_SCAN.search(data, position)
            scan = data[position : end.start() if end else len(data)]
            position += len(scan)
            needed.append(JPEG_FILL_BYTES.sub(b"\xff", scan) if b"\xff\xff" in scan else scan)
    passes = contiguous and ended and scans > 0 and {marker for marker, _ in frames} <= JPEG_HUFFMAN_FRAMES
    is_bomb = scans > MAX_JPEG_SCANS or len(needed) > 2 * MAX_JPEG_SEGMENTS
    return Structure(b"".join(needed), passes, is_bomb, frame=frames[0] if frames else (0, 0))


def _is_needed(marker: int, body: bytes) -> bool:
    names = JPEG_APPLICATION_NEEDED.get(marker)
    return names is None or any(body.startswith(name) and len(body) >= size for name, size in names)


def _read_png(data: bytes) -> Structure:
    """A PNG passes if it has 8-bit samples, no transparency and no animation, and conforms to ISO/IEC 15948 to its end."""
    view, position, needed, chunks, valid, may_turn = memoryview(data), 8, [data[:8]], list[Chunk](), True, False
    while position < len(data) and (not chunks or chunks[-1][0] != b"IEND"):
        length, kind = struct.unpack(">I4s", data[position : position + 8].ljust(8, b"\0"))
        end = position + 12 + length
        if end > len(data):
            needed.append(data[position:])
            return Structure(b"".join(needed))
        chunks.append((kind, view[position + 8 : end - 4]))
        valid &= isal_zlib.crc32(view[position + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big")
        is_ancillary = kind.isalpha() and kind[:1].islower()
        has_orientation = kind == PNG_EXIF or _has_orientation(kind, chunks[-1][1])
        may_turn |= has_orientation
        if not is_ancillary or kind in PNG_NEEDED or has_orientation:
            needed.append(data[position:end])
        position = end
    return Structure(b"".join(needed), valid and position == len(data) and _passes(chunks), may_turn=may_turn)


def _has_orientation(kind: bytes, body: memoryview) -> bool:
    """Check for a text with a rotation that is small enough for Pillow's limits."""
    if kind not in (b"tEXt", b"zTXt", b"iTXt") or not (found := PNG_ORIENTATION.match(body)) or len(body) > MAX_TEXT_BYTES:
        return False
    if kind != b"zTXt":
        return True
    try:
        inflater = zlib.decompressobj()
        inflater.decompress(body[found.end() + 1 :], MAX_TEXT_BYTES)
    except zlib.error:
        return False
    return inflater.eof


def _passes(chunks: list[Chunk]) -> bool:
    """Check chunks with valid checksums."""
    kinds = [kind for kind, _ in chunks]
    order = "".join(PNG_LETTERS.get(kind, "a" if kind.isalpha() and kind[:1].islower() else "?") for kind in kinds)
    if not PNG_ORDER.fullmatch(order) or len(chunks[0][1]) != 13 or {PNG_TRANSPARENCY, PNG_ANIMATION} & set(kinds):
        return False
    width, height, bits, colour, *methods, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    palette = [len(body) for kind, body in chunks if kind == b"PLTE"]
    if (
        bits != 8
        or methods != [0, 0]
        or colour not in PNG_CHANNELS
        or interlaced > 1
        or (colour == PNG_PALETTE and not palette)
        or (colour == PNG_GREY and palette)
    ):
        return False
    if any(size % 3 or not 3 <= size <= 768 for size in palette):
        return False
    size = 0
    for left, top, column_step, row_step in ADAM7 if interlaced else SINGLE_PASS:
        columns, rows = -(-max(width - left, 0) // column_step), -(-max(height - top, 0) // row_step)
        size += rows * (1 + columns * PNG_CHANNELS[colour]) if columns else 0
    return _inflates([body for kind, body in chunks if kind == b"IDAT"], size)


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
