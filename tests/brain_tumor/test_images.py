"""Which files pass unchanged, which become PNG and which are rejected, and that TensorFlow's decoder gives the same pixels."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from brain_tumor.appearance import EXIF_ORIENTATION
from brain_tumor.errors import ImageError
from brain_tumor.images import InputImage, read_image

Decode = Callable[[bytes], np.ndarray]

HEIGHT, WIDTH = 40, 56
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
# Smooth, so that JPEG hardly changes it, and without symmetry, so that no rotated or mirrored copy equals it.
GREY = (40 + 2 * COLUMNS + 2 * ROWS + 15 * np.sin(COLUMNS / 9)).astype(np.uint8)
RGB = np.dstack([GREY, 255 - GREY, GREY // 2 + 30])
BLACK_AND_WHITE = ((GREY > 110) * 255).astype(np.uint8)
TWELVE_BITS = (GREY.astype(np.uint16) * 16).clip(0, 4095)


def encode(image: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    opened = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    opened.save(buffer, kind, **options)
    return buffer.getvalue()


def grey_as_rgb(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[..., None], 3, axis=2)


def rescaled(levels: np.ndarray) -> np.ndarray:
    low, high = float(levels.min()), float(levels.max())
    return np.round((levels - low) * 255 / (high - low)).astype(np.uint8)


def on_black(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.round(rgb * (alpha[..., None] / 255)).astype(np.uint8)


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes) -> bytes:
    """Build a PNG of a bit depth and colour type that Pillow cannot write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def png_16_bit_colour(levels: np.ndarray) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    return png(levels.shape[1], levels.shape[0], depth=16, colour=2, rows=zlib.compress(rows))


def png_16_bit_alpha(pixels: np.ndarray, alpha: np.ndarray) -> bytes:
    rows = b"".join(b"\0" + (row.astype(np.uint16) << 8).astype(">u2").tobytes() for row in np.dstack([pixels, alpha]))
    return png(pixels.shape[1], pixels.shape[0], depth=16, colour=6, rows=zlib.compress(rows))


def bmp_16_bit(pixels: np.ndarray) -> bytes:
    """Build a 5-5-5 BMP, bottom row first."""
    red, green, blue = (pixels[::-1, :, channel].astype("<u2") >> 3 for channel in range(3))
    body = (red << 10 | green << 5 | blue).astype("<u2").tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, pixels.shape[1], pixels.shape[0], 1, 16, 0, len(body), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + header + body


def gif_of_code_size(bits: int, extension: bytes = b"") -> bytes:
    """Build a grey GIF whose LZW codes begin at `bits` + 1 bits, which TensorFlow refuses above 8, and an extension."""
    codes = [1 << bits, *GREY.ravel().tolist(), (1 << bits) + 1]
    packed = sum(code << (bits + 1) * number for number, code in enumerate(codes)).to_bytes(
        -(-len(codes) * (bits + 1) // 8), "little"
    )
    blocks = b"".join(bytes([len(block)]) + block for block in (packed[n : n + 255] for n in range(0, len(packed), 255)))
    table = bytes(level for level in range(256) for _ in range(3))
    screen, frame = struct.pack("<HHBBB", WIDTH, HEIGHT, 0xF7, 0, 0), struct.pack("<HHHHB", 0, 0, WIDTH, HEIGHT, 0)
    return b"GIF89a" + screen + table + extension + b"," + frame + bytes([bits]) + blocks + b"\0;"


def rotated(orientation: int) -> np.ndarray:
    """Return RGB as stored by a camera that sets this EXIF orientation (CIPA DC-008, tag 274)."""
    stored = [
        RGB,
        RGB[:, ::-1],
        RGB[::-1, ::-1],
        RGB[::-1],
        RGB.swapaxes(0, 1),
        np.rot90(RGB, 1),
        np.rot90(RGB.swapaxes(0, 1), 2),
        np.rot90(RGB, -1),
    ]
    return np.ascontiguousarray(stored[orientation - 1])


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[EXIF_ORIENTATION] = orientation
    return tags


PALETTE = Image.fromarray(GREY).convert("RGB").quantize(256, dither=Image.Dither.NONE)
WITHOUT_COLOUR_7 = on_black(np.asarray(PALETTE.convert("RGB")), (np.asarray(PALETTE) != 7) * 255)
FIVE_BITS = ((RGB >> 3).astype(int) * 255 // 31).astype(np.uint8)
PASSTHROUGH = {
    "JPEG grey": (encode(GREY, "JPEG", quality=95), grey_as_rgb(GREY)),
    "JPEG": (encode(RGB, "JPEG", quality=95), RGB),
    "JPEG progressive": (encode(RGB, "JPEG", quality=95, progressive=True), RGB),
    "JPEG restarts": (encode(RGB, "JPEG", quality=95, restart_marker_rows=1), RGB),
    "JPEG 4:4:4": (encode(RGB, "JPEG", quality=95, subsampling=0), RGB),
    "JPEG, bytes appended": (encode(RGB, "JPEG", quality=95) + b"from a camera", RGB),
    "PNG grey": (encode(GREY, "PNG"), grey_as_rgb(GREY)),
    "PNG": (encode(RGB, "PNG"), RGB),
    "PNG palette": (encode(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB"))),
    "PNG, upright EXIF": (encode(RGB, "PNG", exif=exif(1)), RGB),
}
CONVERTED = {
    "JPEG CMYK": (encode(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=95), RGB),
    "JPEG, bytes between segments": (encode(RGB, "JPEG", quality=95).replace(b"\xff\xdb", b"\0\xff\xdb", 1), RGB),
    "PNG 1-bit": (encode(Image.fromarray(BLACK_AND_WHITE).convert("1"), "PNG"), grey_as_rgb(BLACK_AND_WHITE)),
    "PNG 16 colours": (encode(PALETTE.quantize(16), "PNG", bits=4), np.asarray(PALETTE.quantize(16).convert("RGB"))),
    "PNG 16-bit": (encode(TWELVE_BITS, "PNG"), grey_as_rgb(rescaled(TWELVE_BITS))),
    "PNG 16-bit colour": (png_16_bit_colour(RGB.astype(np.uint16) << 8), rescaled(RGB)),
    "PNG, bytes appended": (encode(RGB, "PNG") + b"more", RGB),
    "PNG, alpha": (encode(np.dstack([RGB, GREY]), "PNG"), on_black(RGB, GREY)),
    "PNG grey, alpha": (encode(np.dstack([GREY, 255 - GREY]), "PNG"), on_black(grey_as_rgb(GREY), 255 - GREY)),
    "PNG grey, transparent colour": (encode(GREY, "PNG", transparency=111), on_black(grey_as_rgb(GREY), (GREY != 111) * 255)),
    "PNG palette, transparency": (encode(PALETTE, "PNG", transparency=7), WITHOUT_COLOUR_7),
    "PNG 16-bit, alpha": (png_16_bit_alpha(RGB, GREY), on_black(rescaled(RGB), GREY)),
    "GIF transparent": (encode(PALETTE, "GIF", transparency=7), WITHOUT_COLOUR_7),
    "WebP, alpha": (encode(np.dstack([RGB, GREY]), "WEBP", lossless=True, exact=True), on_black(RGB, GREY)),
    "TIFF, alpha": (encode(np.dstack([RGB, GREY]), "TIFF"), on_black(RGB, GREY)),
    "GIF": (encode(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB"))),
    "GIF, code size 11": (gif_of_code_size(11), grey_as_rgb(GREY)),
    "GIF, empty comment": (gif_of_code_size(11, b"!\xfe\0"), grey_as_rgb(GREY)),
    "GIF grey": (encode(GREY, "GIF"), grey_as_rgb(GREY)),
    "BMP 24-bit": (encode(RGB, "BMP"), RGB),
    "BMP palette": (encode(PALETTE, "BMP"), np.asarray(PALETTE.convert("RGB"))),
    "BMP 1-bit": (encode(Image.fromarray(BLACK_AND_WHITE).convert("1"), "BMP"), grey_as_rgb(BLACK_AND_WHITE)),
    "BMP 32-bit": (encode(np.dstack([RGB, np.full_like(GREY, 255)]), "BMP"), RGB),
    "BMP 16-bit": (bmp_16_bit(RGB), FIVE_BITS),
    "BMP, bytes appended": (encode(RGB, "BMP") + b"more", RGB),
    "TIFF": (encode(RGB, "TIFF"), RGB),
    "TIFF grey": (encode(GREY, "TIFF"), grey_as_rgb(GREY)),
    "TIFF 16-bit": (encode(TWELVE_BITS, "TIFF"), grey_as_rgb(rescaled(TWELVE_BITS))),
    "TIFF float": (encode(GREY.astype(np.float32) / 1000, "TIFF"), grey_as_rgb(rescaled(GREY))),
    "WebP": (encode(RGB, "WEBP", lossless=True), RGB),
    "AVIF": (encode(RGB, "AVIF", quality=100, subsampling="4:4:4"), RGB),
    "PPM": (encode(RGB, "PPM"), RGB),
    "PGM": (encode(GREY, "PPM"), grey_as_rgb(GREY)),
    "JPEG 2000": (encode(RGB, "JPEG2000"), RGB),
    **{f"PNG, EXIF {n}": (encode(rotated(n), "PNG", exif=exif(n)), RGB) for n in range(2, 9)},
    **{f"JPEG, EXIF {n}": (encode(rotated(n), "JPEG", quality=95, exif=exif(n)), RGB) for n in range(2, 9)},
}
EVERY = PASSTHROUGH | CONVERTED


@pytest.fixture(scope="module")
def decode() -> Decode:
    """The decoder of the model's graph."""
    import tensorflow as tf

    return lambda data: tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


def assert_alike(pixels: np.ndarray, expected: np.ndarray, *, lossy: bool) -> None:
    assert pixels.shape == expected.shape
    difference = np.abs(pixels.astype(int) - expected)
    assert difference.max() <= (18 if lossy else 0)
    assert difference.mean() <= 2


@pytest.mark.parametrize("name", PASSTHROUGH)
def test_passthrough_formats_keep_their_bytes(name: str) -> None:
    data, displayed = PASSTHROUGH[name]
    image = read_image(data)
    assert image.data is data
    assert_alike(image.pixels, displayed, lossy="JPEG" in name)


@pytest.mark.parametrize("name", CONVERTED)
def test_other_formats_become_a_png_of_the_displayed_image(name: str) -> None:
    data, displayed = CONVERTED[name]
    image = read_image(data)
    assert image.data.startswith(b"\x89PNG")
    assert_alike(image.pixels, displayed, lossy=name.startswith(("JPEG", "AVIF")) and name != "JPEG 2000")
    with Image.open(io.BytesIO(image.data)) as stored:
        np.testing.assert_array_equal(np.asarray(stored.convert("RGB")), image.pixels)
    assert read_image(image.data).data is image.data


@pytest.mark.parametrize("name", EVERY)
def test_tensorflow_decodes_the_bytes_to_the_same_pixels(name: str, decode: Decode) -> None:
    image = read_image(EVERY[name][0])
    assert_alike(decode(image.data), image.pixels, lossy=image.data.startswith(b"\xff\xd8"))


def test_result_describes_the_input() -> None:
    image = read_image(CONVERTED["PNG 16-bit"][0])
    assert (image.format, image.mode, image.width_px, image.height_px) == ("PNG", "I;16", WIDTH, HEIGHT)
    assert image.brightness == pytest.approx(rescaled(TWELVE_BITS).mean() / 255)


def test_size_is_measured_upright() -> None:
    assert read_image(encode(rotated(6), "JPEG", exif=exif(6))).width_px == WIDTH


def test_uniform_16_bit_image_becomes_black() -> None:
    assert not read_image(encode(np.full((8, 8), 700, np.uint16), "PNG")).pixels.any()


def huge_png() -> bytes:
    """30,000 x 30,000 pixels of one bit in 110 kB."""
    squeeze = zlib.compressobj(1)
    rows = b"".join(squeeze.compress(bytes(3751 * 1000)) for _ in range(30)) + squeeze.flush()
    return png(30_000, 30_000, depth=1, colour=0, rows=rows)


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"", "not_an_image", "empty"),
        (b"no image, only words", "not_an_image", "not an image"),
        *((EVERY[name][0][: len(EVERY[name][0]) * 3 // 4], "corrupt", name[:4]) for name in ("JPEG", "PNG", "GIF", "TIFF")),
        (EVERY["BMP 24-bit"][0][:900], "corrupt", "BMP"),
        (encode(RGB, "ICO"), "unsupported_type", "ICO"),
        (bytes(128) + b"DICM" + bytes(64), "corrupt", "DICOM"),
        (encode(np.zeros((4000, 4001), np.uint8), "PNG"), "too_large", "4001 x 4000"),
        (huge_png(), "too_large", "at most"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_image_is_rejected_with_code_and_message(data: bytes, code: str, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        read_image(data)
    assert caught.value.code == code


def test_pixel_limit_is_configurable() -> None:
    with pytest.raises(ImageError, match="at most 100"):
        read_image(PASSTHROUGH["PNG"][0], max_pixels=100)


FUZZED = (
    "JPEG",
    "JPEG grey",
    "JPEG progressive",
    "JPEG restarts",
    "PNG",
    "PNG palette",
    "PNG, alpha",
    "GIF",
    "BMP 24-bit",
    "TIFF",
    "WebP",
)


@pytest.mark.parametrize("name", FUZZED)
def test_damaged_files_are_rejected_or_decode_in_the_graph(name: str, decode: Decode) -> None:
    """One image that the graph rejects fails its whole batch."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        image = read_or_none(damaged(EVERY[name][0], rng))
        if image is not None:
            decoded = decode(image.data)
            assert decoded.shape == image.pixels.shape
            if not image.data.startswith(b"\xff\xd8"):
                np.testing.assert_array_equal(decoded, image.pixels)


@pytest.mark.parametrize("name", EVERY)
def test_reduced_reading_describes_the_image_as_a_full_one_does(name: str) -> None:
    full, reduced = (read_image(EVERY[name][0], reduced=reduced) for reduced in (False, True))
    assert (reduced.data, reduced.format, reduced.mode) == (full.data, full.format, full.mode)
    assert (reduced.width_px, reduced.height_px) == (full.width_px, full.height_px) == full.image.size
    assert reduced.brightness == pytest.approx(full.brightness, abs=0.5 / 255)
    passes_as_jpeg = name in PASSTHROUGH and full.format == "JPEG"
    assert reduced.image.size == ((-(-WIDTH // 8), -(-HEIGHT // 8)) if passes_as_jpeg else full.image.size)


def test_brightness_of_a_reduced_jpeg_weights_its_edges_by_their_pixels() -> None:
    levels = np.zeros((41, 57), np.uint8)
    levels[:, 56:] = levels[40:] = 255  # the last column and row, alone in their blocks
    image = read_image(encode(levels, "JPEG", quality=100), reduced=True)
    assert image.brightness == pytest.approx(levels.mean() / 255, abs=0.002)


@pytest.mark.parametrize("name", [name for name in FUZZED if name.startswith("JPEG")])
def test_reduced_reading_rejects_the_same_damaged_files(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        data = damaged(EVERY[name][0], rng)
        assert verdict(data, reduced=True) == verdict(data, reduced=False)


def verdict(data: bytes, *, reduced: bool) -> tuple[object, ...]:
    try:
        image = read_image(data, reduced=reduced)
    except ImageError as error:
        return error.code, str(error)
    return image.data, image.width_px, image.height_px, image.mode


def read_or_none(data: bytes) -> InputImage | None:
    try:
        return read_image(data)
    except ImageError:
        return None


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Truncate a file, change a few of its bytes, anywhere or in the header, or remove some."""
    changed = bytearray(data)
    match rng.integers(4):
        case 0:
            return data[: rng.integers(1, len(data))]
        case 1:
            start = rng.integers(len(data))
            return data[:start] + data[start + rng.integers(1, 20) :]
        case kind:
            for _ in range(rng.integers(1, 4)):
                changed[rng.integers(min(64, len(data)) if kind == 2 else len(data))] = rng.integers(256)
            return bytes(changed)
