"""Metadata that no pixel depends on does not decide over an image; the bounds stay on what is decoded."""

import re
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from brain_tumor.appearance import EXIF_ORIENTATION
from brain_tumor.errors import ImageError
from brain_tumor.images import read_image
from tests.brain_tumor.test_images import GREY, HEIGHT, RGB, WIDTH, Decode, assert_alike, encode, grey_as_rgb, read_or_none
from tests.brain_tumor.test_images import decode as decode
from tests.serving.fuzz_png import chunk

JPEG = encode(RGB, "JPEG", quality=95)
PROGRESSIVE = encode(RGB, "JPEG", quality=95, progressive=True)
PNG = encode(GREY, "PNG")
MEGABYTES = bytes(3 * 2**20)
ROTATED = Image.Exif()
ROTATED[EXIF_ORIENTATION] = 6


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_with(*segments: bytes, after: bytes = b"") -> bytes:
    return JPEG[:2] + b"".join(segments) + JPEG[2:] + after


def png_with(*chunks: bytes) -> bytes:
    return PNG[:33] + b"".join(chunks) + PNG[33:]


THUMBNAIL = b"JFXX\0\x10" + encode(Image.new("RGB", (160, 120), "white"), "JPEG")
PREVIEW = b"Exif\0\0" + b"MM\0*" + struct.pack(">IH", 8, 0) + PROGRESSIVE * 9
JPEGS = {
    "comment of scan markers": jpeg_with(segment(0xFE, b"\xff\xda" * 30_000)),
    "comment of 0xFF": jpeg_with(segment(0xFE, b"\xff" * 60_000)),
    "profile of scan markers": jpeg_with(segment(0xE2, b"ICC_PROFILE\0\1\1" + b"\xff\xda" * 30_000)),
    "profile of 0xFF in two parts": jpeg_with(*(segment(0xE2, b"ICC_PROFILE\0%c\2" % n + b"\xff" * 60_000) for n in (1, 2))),
    "thumbnail": jpeg_with(segment(0xE0, THUMBNAIL)),
    "white thumbnail": jpeg_with(segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\x64\x64" + b"\xff" * 30_000)),
    "preview in EXIF": jpeg_with(segment(0xE1, PREVIEW)),
    "scan markers after the end": jpeg_with(after=b"\xff\xda" * 30_000),
    "0xFF after the end": jpeg_with(after=b"\xff" * 100_000),
    "images after the end": jpeg_with(after=PROGRESSIVE * 20),
    "video after the end": jpeg_with(after=b"\0\0\0\x18ftypmp42" + MEGABYTES),
    "fill bytes before a segment": jpeg_with(b"\xff" * 100_000),
    "fill bytes before the end": JPEG[:-2] + b"\xff" * 100_000 + JPEG[-2:],
    "no valid EXIF": jpeg_with(segment(0xE1, b"Exif\0\0" + b"\xff" * 400)),
    "short JFIF": jpeg_with(segment(0xE0, b"JFIF\0")),
    "short Adobe": jpeg_with(segment(0xEE, b"Adobe")),
    "no valid Photoshop data": jpeg_with(segment(0xED, b"Photoshop 3.0\0" + b"8BIM" * 100)),
    "no valid multi-picture format": jpeg_with(segment(0xE2, b"MPF\0MM\0*" + b"\xff" * 90)),
    "DICM in a comment": jpeg_with(segment(0xFE, b"DICM" * 100)),
}
PNGS = {
    "compressed text": png_with(chunk(b"zTXt", b"a\0\0" + zlib.compress(MEGABYTES))),
    "international text": png_with(chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(MEGABYTES))),
    "plain text": png_with(chunk(b"tEXt", b"a\0" + b"x" * 9_000_000)),
    "text of 80 MB in all": png_with(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20 - 1))) * 80),
    "profile": png_with(chunk(b"iCCP", b"a\0\0" + zlib.compress(MEGABYTES))),
    "no valid profile": png_with(chunk(b"iCCP", b"a\0\7x")),
    "empty chunks": png_with(*(chunk(kind) for kind in (b"iCCP", b"pHYs", b"sRGB", b"cHRM", b"tIME", b"gAMA"))),
    "no valid EXIF": png_with(chunk(b"eXIf", b"II*\0" + b"\xff" * 90)),
    "rotation that unpacks to 3 MB": png_with(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(MEGABYTES))),
    "100,000 chunks": png_with(chunk(b"tEXt", b"a\0b") * 100_000),
    "private chunk": png_with(chunk(b"prVt", MEGABYTES)),
    "DICM in a text": png_with(chunk(b"tEXt", b"DICM" * 100)),
}


@pytest.mark.parametrize("name", JPEGS)
def test_metadata_of_a_jpeg_does_not_decide(name: str, decode: Decode) -> None:
    image = read_image(JPEGS[name])
    assert image.data is JPEGS[name]
    np.testing.assert_array_equal(image.pixels, read_image(JPEG).pixels)
    assert_alike(decode(image.data), RGB, lossy=True)


@pytest.mark.parametrize("name", PNGS)
def test_metadata_of_a_png_does_not_decide(name: str, decode: Decode) -> None:
    image = read_image(PNGS[name])
    assert image.data is PNGS[name]
    np.testing.assert_array_equal(image.pixels, grey_as_rgb(GREY))
    np.testing.assert_array_equal(decode(image.data), grey_as_rgb(GREY))


@pytest.mark.parametrize(
    "data",
    [
        png_with(chunk(b"tEXt", b"a\0b")[:-1] + b"!"),
        PNG + b"more",
        PNG[:-12] + chunk(b"zTXt", b"a\0\0" + zlib.compress(MEGABYTES)) + PNG[-12:] + b"\xff" * 100_000,
    ],
    ids=["checksum of a text", "trailer", "trailer and text after the data"],
)
def test_damaged_metadata_of_a_png_is_left_out(data: bytes) -> None:
    image = read_image(data)
    assert image.data is not data
    np.testing.assert_array_equal(image.pixels, grey_as_rgb(GREY))


def test_rotation_survives_other_metadata() -> None:
    rotated = encode(RGB, "JPEG", exif=ROTATED)
    for data in (rotated[:2] + segment(0xFE, b"\xff\xda" * 30_000) + rotated[2:], rotated + b"\xff" * 100_000):
        image = read_image(data)
        assert (image.width_px, image.height_px) == (HEIGHT, WIDTH)
        assert image.data.startswith(b"\x89PNG")
    exif = ROTATED.tobytes().hex()
    profile = f"Raw profile type exif\0\0\nexif\n{len(exif) // 2:8}\n{exif}\n".encode()
    text = chunk(b"zTXt", profile[:23] + zlib.compress(profile[23:]))
    assert read_image(png_with(text)).width_px == HEIGHT


def test_second_view_of_a_multi_picture_jpeg_is_metadata() -> None:
    views = encode(Image.fromarray(RGB), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    image = read_image(views)
    assert (image.data, image.format, image.pixels.shape) == (views, "JPEG", RGB.shape)


def many_scans(count: int) -> bytes:
    start = [found.start() for found in re.finditer(rb"\xff\xda", PROGRESSIVE)][-1]
    return PROGRESSIVE[:-2] + PROGRESSIVE[start:-2] * count + PROGRESSIVE[-2:]


def test_bounds_stay_on_what_is_decoded() -> None:
    assert read_image(many_scans(20)).pixels.shape == RGB.shape
    for jpeg in (many_scans(100), many_scans(100_000), jpeg_with(segment(0xC4, b"") * 2_000_000)):
        with pytest.raises(ImageError, match="too many scans or tables to decode") as rejected:
            read_image(jpeg)
        assert rejected.value.code == "corrupt"
    started = time.monotonic()
    bomb = PNG[:33] + chunk(b"IDAT", zlib.compress(bytes(200 * 2**20))) + PNG[-12:]
    assert not read_image(bomb).pixels.any()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "data",
    [
        encode(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
        JPEG.replace(b"\xff\xc0", b"\xff\xc9"),
        JPEG.replace(b"\xff\xc0", b"\xff\xc3"),
    ],
    ids=["CMYK", "arithmetic", "lossless"],
)
def test_jpeg_of_another_process_never_passes(data: bytes) -> None:
    image = read_or_none(data)
    assert image is None or image.data.startswith(b"\x89PNG")
