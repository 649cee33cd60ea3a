"""Files that are not images, violate their format, or declare more than they contain."""

import itertools
import re
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.brain_tumor.test_images import EVERY, PALETTE, damaged, encode, exif, huge_png
from tests.serving.fuzz_client import MARKER, Case, form, part
from tests.serving.fuzz_png import DATA, END, PNGS, SIDE, header, with_valid_checksums

LARGE = 4000
PADDING = 9_000_000
NAMES = sorted(EVERY)


def tiff(width: int, height: int, *more: tuple[int, int, int, int], compression: int = 1) -> bytes:
    """Build a grey TIFF without its data, with additional tags: number, type, count, value."""
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1), (273, 4, 1, 8)]
    tags += [(277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 99), *more]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)


def bmp(width: int, height: int, compression: int = 0, data: bytes = b"") -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) + info + data


def gif(screen: tuple[int, int], frame: tuple[int, int, int, int]) -> bytes:
    table = struct.pack("<HHBBB6x", *screen, 0x80, 0, 0)
    return b"GIF89a" + table + b"," + struct.pack("<HHHHB", *frame, 0) + b"\2\2\x44\1\0;"


def many_scans(count: int) -> bytes:
    """Build a progressive JPEG of 16 megapixels with its last scan repeated: each takes 30 bytes, and 8 ms to decode."""
    jpeg = encode(Image.new("L", (LARGE, LARGE), 128), "JPEG", progressive=True)
    start = [found.start() for found in re.finditer(rb"\xff\xda", jpeg)][-1]
    return jpeg[:-2] + jpeg[start:-2] * count + jpeg[-2:]


def sized(width: int, height: int) -> bytes:
    return encode(Image.new("L", (width, height)), "PNG")


def too_large() -> dict[str, bytes]:
    """Return files that declare, or have, too many pixels."""
    jpeg = encode(Image.new("RGB", (SIDE, SIDE)), "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    return {
        "PNG of 900 megapixels": huge_png(),
        "PNG, 2**31 wide": b"\x89PNG\r\n\x1a\n" + header(width=2**31) + DATA + END,
        "PNG, 16,000,000 wide": sized(16_000_000, 1),
        "PNG, 5,000,000 high": sized(3, 5_000_000),
        "GIF screen": gif((65535, 65535), (0, 0, 65535, 65535)),
        "GIF frame": gif((SIDE, SIDE), (60000, 60000, 60000, 60000)),
        "TIFF": tiff(100_000, 100_000),
        "WebP": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0VP8 \0\0\0\0",
        "WebP lossless": b"RIFF\x1e\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f" + bytes(10),
        "BMP": bmp(2**31 - 1, 2**31 - 1),
        "BMP, upside down": bmp(SIDE, -(2**31)),
        "PPM": b"P6 100000 100000 255\n",
        "JPEG": jpeg[:frame] + struct.pack(">HH", 65500, 65500) + jpeg[frame + 4 :],
    }


def corrupt() -> dict[str, bytes]:
    """Return small files that begin like an image and take long to decode."""
    comments = b"GIF89a" + struct.pack("<HHBBB", SIDE, SIDE, 0, 0, 0) + b"!\xfe" + (b"\xff" + bytes(255)) * 30_000 + b"\0"
    return {
        "JPEG of 1,000 scans": many_scans(1000),
        "JPEG of fill bytes": b"\xff\xd8" + b"\xff" * PADDING,
        "PPM of comments": b"P6\n#" + b"c" * PADDING,
        "PPM of digits": b"P6 " + b"9" * PADDING,
        "PBM in text": b"P1 4000 4000\n" + b"1" * 4_000_000,
        "GIF of comments": comments,
        "BMP, run lengths": bmp(LARGE, LARGE, 1, bytes(1024) + b"\0\2\0\0" * 1_000_000),
        "JPEG 2000, 2**31 wide": encode(PALETTE.convert("RGB"), "JPEG2000")[:200],
        **{f"TIFF, compression {kind}, no data": tiff(LARGE, LARGE, compression=kind) for kind in (1, 4, 5, 7, 8, 34925, 50000)},
        "TIFF, a tag of 4 GB": tiff(LARGE, LARGE, (270, 4, 0xFFFFFFFF, 8)),
        "TIFF, tiles of 4 gigapixels": tiff(LARGE, LARGE, (322, 4, 1, 2**31 - 1), (323, 4, 1, 2**31 - 1), (324, 4, 1, 8)),
        "TIFF, directory in itself": b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIII", 256, 4, 1, 8, 8),
    }


def no_images() -> dict[str, bytes]:
    """Return files of other types, and of formats that Pillow reads and the service rejects."""
    starts = {
        "text": b"",
        "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><text>',
        "PDF": b"%PDF-1.7\n",
        "HTML": b"<!DOCTYPE html><script>",
        "EXE": b"MZ\x90\0",
        "ZIP": b"PK\3\4",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "XPM": b"/* XPM */\n",
        "XBM": b"#define x_width 8\n#define x_height 8\n",
        "FITS": b"SIMPLE  =                    T",
        "IM": b"Image type: Greyscale image\r\n",
        "ICNS": b"icns",
        "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, SIDE, SIDE, 8, 3),
    }
    return {name: start + MARKER.encode() * 40_000 for name, start in starts.items()} | {"zeros": bytes(PADDING)}


def largest() -> dict[str, bytes]:
    """Return images at the size limit, in the formats that take the most memory."""
    grey = Image.linear_gradient("L").resize((LARGE, LARGE))
    colour = Image.merge("RGB", [grey] * 3)
    return {
        "JPEG CMYK": encode(colour.convert("CMYK"), "JPEG"),
        "JPEG progressive, rotated": encode(colour, "JPEG", progressive=True, exif=exif(6)),
        "TIFF float": encode(grey.convert("F"), "TIFF", compression="tiff_adobe_deflate"),
        "JPEG 2000": encode(colour, "JPEG2000", quality_layers=[100]),
        "WebP": encode(colour, "WEBP", method=0),
    }


def damaged_images(count: int) -> Iterator[tuple[str, bytes]]:
    """Generate images of every format in turn: damaged, or the end of one after the start of another."""
    rng = np.random.default_rng(0)
    for name in itertools.islice(itertools.cycle(NAMES), count):
        data = EVERY[name][0]
        if rng.integers(8) == 0:
            other = EVERY[NAMES[rng.integers(len(NAMES))]][0]
            yield name, data[: rng.integers(len(data))] + other[rng.integers(len(other)) :]
        else:
            changed = damaged(data, rng)
            yield name, with_valid_checksums(changed) if rng.integers(2) else changed


def cases() -> Iterator[Case]:
    """Generate requests to explain every file except the damaged images."""
    dicom = bytes(128) + b"DICM" + MARKER.encode() * 100
    for images, codes in [
        (PNGS, {"", "corrupt", "not_an_image", "invisible"}),
        (corrupt(), {"", "corrupt", "not_an_image"}),
        (too_large(), {"too_large"}),
        (no_images(), {"not_an_image", "unsupported_type"}),
        ({"DICOM": dicom}, {"corrupt"}),
        ({"empty": b""}, {"not_an_image"}),
    ]:
        for name, data in images.items():
            body, content_type = form([part(data)])
            yield Case(name, codes, "/predict?explain=true", body, (content_type,))
