"""Read the directories of a TIFF file, one for each of its images."""

import struct
from collections.abc import Iterator

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0*", b"MM*\0")
SUBFILE_TYPE, OLD_SUBFILE_TYPE, BITS_PER_SAMPLE, SAMPLE_FORMAT = 254, 255, 258, 339
REDUCED_OR_MASK, OLD_REDUCED = 0b101, 2
MAX_ENTRIES = 64  # of a directory: they are sorted by tag, and the tags that are read come early
VALUE_FORMATS = {1: "B", 3: "H", 4: "I"}  # by TIFF type: BYTE, SHORT, LONG

Directory = dict[int, int]


def directories(data: bytes) -> Iterator[Directory]:
    """Generate the directories in their order, each as tag -> first value, for tags with numbers."""
    order = "<" if data.startswith(b"II") else ">"
    is_big = b"+" in data[2:4]
    count_format, entry_format, offset_format = ("Q", "HHQ8s", "Q") if is_big else ("H", "HHI4s", "I")
    entry = struct.Struct(order + entry_format)
    seen = set[int]()
    try:
        (offset,) = struct.unpack_from(order + offset_format, data, 8 if is_big else 4)
        while offset and offset not in seen:
            seen.add(offset)
            (count,) = struct.unpack_from(order + count_format, data, offset)
            start = offset + struct.calcsize(count_format)
            entries = [entry.unpack_from(data, start + n * entry.size) for n in range(min(count, MAX_ENTRIES))]
            yield {tag: _first_value(data, order, *rest) for tag, *rest in entries}
            (offset,) = struct.unpack_from(order + offset_format, data, start + count * entry.size)
    except struct.error:  # the file ends before
        return


def is_full_image(directory: Directory) -> bool:
    """Check that a directory is neither a thumbnail (a reduced-resolution copy) nor a transparency mask."""
    return not directory.get(SUBFILE_TYPE, 0) & REDUCED_OR_MASK and directory.get(OLD_SUBFILE_TYPE) != OLD_REDUCED


def _first_value(data: bytes, order: str, kind: int, count: int, field: bytes) -> int:
    value_format = order + VALUE_FORMATS.get(kind, "I")
    if count * struct.calcsize(value_format) > len(field):
        (offset,) = struct.unpack(order + ("I" if len(field) == 4 else "Q"), field)
        return int(struct.unpack_from(value_format, data, offset)[0]) if offset < len(data) - 4 else 0
    return int(struct.unpack_from(value_format, field)[0])
