"""Files with several images: refused with their number, unless one is chosen."""

import contextlib
import io
import struct
import time

import numpy as np
import pytest
from PIL import Image

from brain_tumor.errors import ImageError
from brain_tumor.images import InputImage, read_image
from tests.brain_tumor.test_images import GREY, HEIGHT, RGB, WIDTH, encode, grey_as_rgb

LEVELS = (40, 130, 220)
FRAMES = [Image.new("L", (WIDTH, HEIGHT), level) for level in LEVELS]


def several(kind: str, frames: list[Image.Image] = FRAMES, **options: object) -> bytes:
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def tiff(*pages: tuple[int, int, int], tag: int = 254) -> bytes:
    """Build a TIFF of uniform grey pages, each given as side, level and value of a tag, by default NewSubfileType."""
    built = b"II*\0"
    for number, (side, level, subfile_type) in enumerate(pages):
        tags = [(tag, 3, 1, subfile_type), (256, 3, 1, side), (257, 3, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
        data = len(built) + 4
        tags += [(273, 4, 1, data), (277, 3, 1, 1), (278, 3, 1, side), (279, 4, 1, side * side)]
        built += struct.pack("<I", data + side * side) + bytes([level]) * (side * side)
        built += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *each) for each in tags)
        if number == len(pages) - 1:
            built += bytes(4)
    return built


ANIMATION = several("PNG")
SEVERAL = {
    "TIFF": several("TIFF"),
    "TIFF, compressed": several("TIFF", compression="tiff_lzw"),
    "TIFF, big": several("TIFF", big_tiff=True),
    "TIFF, pages of several sizes": tiff((16, 40, 0), (8, 130, 0), (32, 220, 0)),
    "GIF": several("GIF"),
    "APNG": ANIMATION,
    "APNG, image outside the animation": several("PNG", default_image=True),
    "WebP": several("WEBP", lossless=True),
    "AVIF": several("AVIF", quality=100),
    "PGM": b"".join(encode(frame, "PPM") for frame in FRAMES),
    "PPM": b"".join(encode(frame.convert("RGB"), "PPM") for frame in FRAMES),
    "PFM": b"".join(b"Pf\n8 4\n-1.0\n" + np.linspace(0, level, 32, dtype="<f4").tobytes() for level in LEVELS),
    "PBM": b"P4\n# a comment\n9 2\n\xff\xff\0\0\nP4 9 2\n\xff\0\0\0 P4 9\n2\n\0\0\0\0",
}
ONE = {
    "TIFF with thumbnails": (tiff((16, 130, 0), (8, 40, 1), (4, 40, 1)), 130),
    "TIFF that begins with its thumbnail": (tiff((8, 40, 1), (16, 130, 0)), 130),
    "TIFF with an old thumbnail": (tiff((16, 130, 1), (8, 40, 2), tag=255), 130),
    "TIFF with a transparency mask": (tiff((16, 130, 0), (16, 255, 4)), 130),
    "TIFF of a thumbnail alone": (tiff((8, 130, 1)), 130),
    "GIF": (several("GIF", FRAMES[1:2]), 130),
    "APNG of one frame": (several("PNG", FRAMES[1:2]), 130),
    "WebP": (several("WEBP", FRAMES[1:2], lossless=True), 130),
    "JPEG with a second view": (several("MPO", [FRAMES[1], FRAMES[0]], quality=95), 130),
    "PGM with a line end": (encode(FRAMES[1], "PPM") + b"\n", 130),
}


def rejected(data: bytes, frame: int | None = None) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_image(data, frame=frame)
    return caught.value


@pytest.mark.parametrize("name", SEVERAL)
def test_several_images_are_refused_with_their_number(name: str) -> None:
    error = rejected(SEVERAL[name])
    assert (error.code, error.images) == ("several_images", 3)
    assert "3 images" in str(error)
    assert "`frame`, 1 to 3" in str(error)


@pytest.mark.parametrize("name", [name for name in SEVERAL if name not in ("PFM", "PBM")])
def test_frame_chooses_one_of_several(name: str) -> None:
    for frame, level in enumerate(LEVELS, 1):
        image = read_image(SEVERAL[name], frame=frame)
        assert abs(image.pixels.astype(int) - level).max() <= (1 if name == "AVIF" else 0)
        assert image.data.startswith(b"\x89PNG")
        with Image.open(io.BytesIO(image.data)) as stored:
            assert getattr(stored, "n_frames", 1) == 1
    sizes = [read_image(SEVERAL[name], frame=frame).width_px for frame in (1, 2, 3)]
    assert sizes == ([16, 8, 32] if "sizes" in name else [WIDTH] * 3)


@pytest.mark.parametrize(("name", "shape"), [("PFM", (4, 8, 3)), ("PBM", (2, 9, 3))])
def test_every_image_of_a_concatenation_is_read(name: str, shape: tuple[int, int, int]) -> None:
    assert [read_image(SEVERAL[name], frame=frame).pixels.shape for frame in (1, 2, 3)] == [shape] * 3


@pytest.mark.parametrize("name", [*SEVERAL, "one image"])
@pytest.mark.parametrize("frame", [-1, 0, 4, 10**30])
def test_frame_outside_the_file_is_refused(name: str, frame: int) -> None:
    error = rejected(SEVERAL.get(name, encode(GREY, "PNG")), frame)
    assert error.code == "bad_request"
    assert f"frame: got {frame}, expected 1 to {3 if name in SEVERAL else 1}" in str(error)


@pytest.mark.parametrize("name", ONE)
def test_thumbnails_and_masks_are_no_images_of_their_own(name: str) -> None:
    data, level = ONE[name]
    for image in (read_image(data), read_image(data, frame=1)):
        assert abs(image.pixels.astype(int) - level).max() <= 1
    assert rejected(data, 2).code == "bad_request"


def test_frame_1_of_a_single_image_is_that_image() -> None:
    for data in (encode(RGB, "JPEG"), encode(GREY, "PNG")):
        image: InputImage = read_image(data, frame=1)
        assert image.data is data


def test_frames_that_build_on_each_other_are_composed() -> None:
    second = Image.fromarray(GREY)
    second.paste(255, (10, 10, 20, 20))
    for kind in ("GIF", "PNG", "WEBP"):
        data = several(kind, [Image.fromarray(GREY), second], **({"lossless": True} if kind == "WEBP" else {}))
        np.testing.assert_array_equal(read_image(data, frame=2).pixels, grey_as_rgb(np.asarray(second)))


HOSTILE = {
    "GIF frames": b"GIF89a"
    + struct.pack("<HHBBB", 8, 8, 0, 0, 0)
    + (b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\2\1\x44\0") * 500_000,
    "GIF extensions": b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b"!\xff\0" * 3_000_000,
    "TIFF directories": b"II*\0\x08\0\0\0" + b"".join(struct.pack("<HI", 0, 8 + 6 * (n + 1)) for n in range(500_000)),
    "TIFF entries": b"II*\0\x08\0\0\0" + struct.pack("<H", 65535) + b"\xff" * 9_000_000,
    "TIFF in itself": b"II*\0\x08\0\0\0" + struct.pack("<HI", 0, 8),
    "empty PBMs": b"P4 0 0\n" * 1_000_000,
    "PGMs": b"P5 1 1 255\n\0" * 700_000,
    "comments of a PGM": b"P5 1 1 255\n\0" + b"P5#" * 3_000_000,
    "APNG of 2**31 - 1 frames": ANIMATION.replace(b"acTL\0\0\0\3", b"acTL\x7f\xff\xff\xff"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_counting_takes_no_longer_for_a_hostile_file(name: str) -> None:
    started = time.monotonic()
    with contextlib.suppress(ImageError):
        read_image(HOSTILE[name])
    assert time.monotonic() - started < 3


def test_frame_far_into_a_large_animation_is_refused() -> None:
    data = several("GIF", [Image.new("L", (1000, 1000), level) for level in range(30)])
    assert read_image(data, max_pixels=1_000_000, frame=20).width_px == 1000
    error = rejected_at(data, frame=21)
    assert (error.code, "21 frames of 1000 x 1000" in str(error)) == ("too_large", True)


def rejected_at(data: bytes, frame: int) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_image(data, max_pixels=1_000_000, frame=frame)
    return caught.value
