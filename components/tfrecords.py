"""Write TFRecord files of tf.train.Example without TensorFlow, whose import takes longer and more memory than all of preprocess.

The layouts are those of tensorflow/core/lib/io/record_writer.h, tensorflow/core/example/*.proto and Protocol Buffers' encoding.
"""

import functools
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

import google_crc32c

# Field numbers: Example.features = Features.feature = key = BytesList.value = Int64List.value = 1, value of a map = 2;
# of Feature, bytes_list = 1 and int64_list = 3. All of them are of wire type 2, bytes with their length.
LENGTH_DELIMITED = 2
CRC_MASK = 0xA282EAD8


class TFRecordWriter:
    """Writer of a TFRecord file; a context manager."""

    def __init__(self, path: Path):
        self._file = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def write(self, record: bytes) -> None:
        """Append a record, with its length and the checksums of both."""
        length = struct.pack("<Q", len(record))
        self._file.write(b"".join((length, _masked_crc(length), record, _masked_crc(record))))


def encode_example(features: dict[str, bytes | int]) -> bytes:
    """Return the bytes of a tf.train.Example whose features are one string or one integer, not negative, each."""
    entries = [_field(1, _field(1, name.encode()) + _field(2, _feature(features[name]))) for name in sorted(features)]
    return _field(1, b"".join(entries))


def _feature(value: bytes | int) -> bytes:
    return _field(1, _field(1, value)) if isinstance(value, bytes) else _field(3, _field(1, _varint(value)))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | LENGTH_DELIMITED]) + _varint(len(content)) + content


@functools.lru_cache(maxsize=4096)
def _varint(value: int) -> bytes:
    """Return an integer in groups of seven bits, the lowest first; the highest bit says that another follows."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _masked_crc(content: bytes) -> bytes:
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + CRC_MASK) & 0xFFFFFFFF)
