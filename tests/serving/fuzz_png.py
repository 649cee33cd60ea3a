"""Invalid PNGs with valid checksums: Pillow accepts some of them, and libpng in the model's graph rejects them."""

import io
import struct
import zlib

from tests.serving.fuzz_client import MARKER

SIDE = 8


def chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def header(*, width: int = SIDE, height: int = SIDE, depth: int = 8, colour: int = 0, rest: bytes = b"\0\0\0") -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBB", width, height, depth, colour) + rest)


ROWS = b"".join(bytes([0, *range(SIDE)]) for _ in range(SIDE))
STREAM = zlib.compress(ROWS)
DATA, END = chunk(b"IDAT", STREAM), chunk(b"IEND")
GREY, INDEXED = header(), header(colour=3)
COLOURS = chunk(b"PLTE", bytes(range(24)))
COMMENT = chunk(b"tEXt", b"Comment\0" + MARKER.encode())
BOMB = zlib.compress(bytes(64 << 20), 9)

CHUNKS = {
    "PNG, unknown critical chunk": [GREY, chunk(b"ABCD", b"x"), DATA, END],
    "PNG, critical chunk after the data": [GREY, DATA, chunk(b"ABCD", b"x"), END],
    "PNG, two headers": [GREY, GREY, DATA, END],
    "PNG, header after the data": [DATA, GREY, END],
    "PNG, long header": [header(rest=bytes(4)), DATA, END],
    "PNG, compression 1": [header(rest=b"\1\0\0"), DATA, END],
    "PNG, filter 64": [header(rest=b"\0\x40\0"), DATA, END],
    "PNG, interlace 2": [header(rest=b"\0\0\2"), DATA, END],
    "PNG, interlaced, data of another layout": [header(rest=b"\0\0\1"), DATA, END],
    "PNG, colour type 5": [header(colour=5), DATA, END],
    "PNG, no palette": [INDEXED, DATA, END],
    "PNG, empty palette": [INDEXED, chunk(b"PLTE"), DATA, END],
    "PNG, palette of 1 byte": [INDEXED, chunk(b"PLTE", b"x"), DATA, END],
    "PNG, palette of 4 bytes": [INDEXED, chunk(b"PLTE", b"xxxx"), DATA, END],
    "PNG, palette of 300": [INDEXED, chunk(b"PLTE", bytes(900)), DATA, END],
    "PNG, palette too short for the data": [INDEXED, chunk(b"PLTE", bytes(9)), DATA, END],
    "PNG, palette after the data": [INDEXED, DATA, COLOURS, END],
    "PNG, two palettes": [INDEXED, COLOURS, COLOURS, DATA, END],
    "PNG, palette in grey": [GREY, COLOURS, DATA, END],
    "PNG, long transparency": [INDEXED, COLOURS, chunk(b"tRNS", bytes(99)), DATA, END],
    "PNG, transparency of 1 byte": [GREY, chunk(b"tRNS", b"x"), DATA, END],
    "PNG, data in two places": [GREY, chunk(b"IDAT", STREAM[:9]), COMMENT, chunk(b"IDAT", STREAM[9:]), END],
    "PNG, empty data": [GREY, chunk(b"IDAT"), DATA, chunk(b"IDAT"), END],
    "PNG, no data": [GREY, END],
    "PNG, data twice": [GREY, DATA, DATA, END],
    "PNG, bytes after the data": [GREY, chunk(b"IDAT", STREAM + MARKER.encode()), END],
    "PNG, too many rows": [GREY, chunk(b"IDAT", zlib.compress(ROWS * 9)), END],
    "PNG, a byte missing": [GREY, chunk(b"IDAT", zlib.compress(ROWS[:-1])), END],
    "PNG, a row missing": [GREY, chunk(b"IDAT", zlib.compress(ROWS[: -SIDE - 1])), END],
    "PNG, interlaced, a row missing": [header(rest=b"\0\0\1"), chunk(b"IDAT", zlib.compress(bytes(SIDE * (SIDE + 1)))), END],
    "PNG, a name that is no letters": [GREY, chunk(b"_XIf"), DATA, END],
    "PNG, no Adler-32": [GREY, chunk(b"IDAT", STREAM[:-4]), END],
    "PNG, wrong Adler-32": [GREY, chunk(b"IDAT", STREAM[:-4] + b"abcd"), END],
    "PNG, unknown row filter": [GREY, chunk(b"IDAT", zlib.compress(b"\7" + ROWS[1:])), END],
    "PNG, small window": [GREY, chunk(b"IDAT", b"\x08\x1d" + STREAM[2:]), END],
    "PNG, preset dictionary": [GREY, chunk(b"IDAT", b"\x78\xbb" + STREAM[2:]), END],
    "PNG, profile that unpacks to 64 MB": [GREY, chunk(b"iCCP", b"x\0\0" + BOMB), DATA, END],
    "PNG, text that unpacks to 64 MB": [GREY, chunk(b"zTXt", b"x\0\0" + BOMB), DATA, END],
    "PNG, data that unpack to 64 MB": [GREY, chunk(b"IDAT", BOMB), END],
    "PNG, 100,000 chunks": [GREY, chunk(b"tEXt", b"a\0b") * 100_000, DATA, END],
    "PNG, wrong EXIF": [GREY, chunk(b"eXIf", b"II*\0" + b"\xff" * 20), DATA, END],
    "PNG, two ends": [GREY, DATA, END, END],
}
PNGS = {name: b"\x89PNG\r\n\x1a\n" + b"".join(chunks) for name, chunks in CHUNKS.items()}


def with_valid_checksums(png: bytes) -> bytes:
    """Correct the checksums of a damaged PNG, so that more of it is parsed; return other files unchanged."""
    source, mended = io.BytesIO(png), bytearray(png[:8])
    source.seek(8)
    while png.startswith(b"\x89PNG") and len(head := source.read(8)) == 8:
        data = source.read(int.from_bytes(head[:4]))
        source.read(4)
        mended += chunk(head[4:], data)
    return bytes(mended) if len(mended) > 8 else png
