"""The one rule for images that come from outside: what passes, what becomes a PNG, what is refused.

Ingest and the transformer both call `read_image`, so an image is treated alike in training and in serving.
Needs Pillow and numpy only.
"""

import contextlib
import io
import threading
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from brain_tumor.formats import is_jpeg_bomb, is_passthrough_bmp, is_passthrough_gif, is_passthrough_jpeg, is_passthrough_png

MAX_PIXELS = 16_000_000
MAX_INPUT_SIDE_PX = 65_535  # what a JPEG can have; TensorFlow's PNG decoder ends at a million
LARGE_PIXELS = 4_000_000  # above it, threads decode one after another: the buffers of one take some hundred megabytes
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
ACCEPTED = "JPEG, PNG, GIF, BMP, TIFF, WebP, PPM or JPEG 2000"
EXIF_ORIENTATION = 0x0112
TIFF_BITS_PER_SAMPLE = 258
TIFF_PHOTOMETRIC = 262
WHITE_IS_ZERO = 0
ROWS_AT_ONCE = 64

_one_large_at_a_time = threading.Lock()

Image.init()
# Pillow warns of odd metadata and of sizes that are judged here anyway.
warnings.filterwarnings("ignore", module="PIL")


class ImageError(ValueError):
    """An image that cannot be used. `code` is `not_an_image`, `unsupported_type`, `corrupt` or `too_large`."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class InputImage:
    """An image that the model's graph is certain to decode.

    Attributes:
        data: the encoded bytes for the graph: the ones that came, or a PNG of the same image.
        image: what a person sees, upright, of mode `L` or `RGB`.
        format: the format that came, told by content (`JPEG`, `PNG`, ...).
        mode: Pillow's mode of what came (`L`, `RGB`, `CMYK`, `I;16`, ...).
    """

    data: bytes
    image: Image.Image
    format: str
    mode: str

    @property
    def pixels(self) -> np.ndarray:
        """What a person sees, uint8 [height, width, 3], 0-255."""
        return np.asarray(self.image.convert("RGB"))

    @property
    def width_px(self) -> int:
        return self.image.width

    @property
    def height_px(self) -> int:
        return self.image.height

    @property
    def brightness(self) -> float:
        """The mean grey level, 0-1."""
        counts = np.reshape(self.image.histogram(), (-1, 256)).sum(axis=0)
        return float(counts @ np.arange(256) / counts.sum()) / 255


def read_image(data: bytes, max_pixels: int = MAX_PIXELS) -> InputImage:
    """Decode an image in full and return it with bytes that the model's graph decodes to the same.

    JPEG, 8-bit PNG, GIF of one opaque frame and 24-bit BMP pass byte for byte where they are built as their format says
    (`brain_tumor/formats.py`) and carry no EXIF rotation; everything else becomes a PNG.

    Raises:
        ImageError: `not_an_image`, `unsupported_type` (DICOM, or a format outside `FORMATS`), `corrupt` (an image
            that breaks off or does not decode), `too_large` (more than `max_pixels`, judged before decoding).
    """
    image = _open(data, max_pixels)
    width, height = image.size
    if max(width, height) > MAX_INPUT_SIDE_PX:
        raise ImageError("too_large", f"the image has {width} x {height} pixels, a side may have up to {MAX_INPUT_SIDE_PX:,}")
    if width * height > max_pixels:
        raise ImageError("too_large", f"the image has {width} x {height} pixels, the limit is {max_pixels:,}")
    try:
        with _one_large_at_a_time if width * height > LARGE_PIXELS else contextlib.nullcontext():
            image.load()
            passes = _is_passthrough(image, data)
            upright = image if passes else ImageOps.exif_transpose(image)
            grey_or_rgb = _grey_or_rgb(upright, high_bit_depth=_is_high_bit_depth(image, data))
            encoded = data if passes else encode_png(grey_or_rgb)
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        message = f"the {image.format} image is corrupt or breaks off: {type(error).__name__}"
        raise ImageError("corrupt", message) from error
    return InputImage(encoded, grey_or_rgb, image.format or "", image.mode)


def is_dicom(data: bytes) -> bool:
    """Tell whether the bytes are a DICOM file, which starts with 128 bytes of anything (DICOM PS3.10)."""
    return data[128:132] == b"DICM"


def encode_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _open(data: bytes, max_pixels: int) -> Image.Image:
    if is_dicom(data):
        raise ImageError(
            "unsupported_type", "DICOM files are not accepted: export the slice as PNG, windowed as a reader would see it"
        )
    if is_jpeg_bomb(data):
        raise ImageError("corrupt", "the JPEG image repeats its scans or markers beyond any use")
    if not data:
        raise ImageError("not_an_image", "the file is empty (0 bytes)")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError("too_large", f"the image has more pixels than the limit of {max_pixels:,}") from error
    except UnidentifiedImageError as error:
        raise _unknown(data) from error
    except Exception as error:  # a header that a Pillow plugin recognises and then trips over
        raise ImageError("corrupt", f"the image's header is corrupt: {type(error).__name__}") from error


def _unknown(data: bytes) -> ImageError:
    try:
        with Image.open(io.BytesIO(data), formats=[name for name in Image.ID if name not in FORMATS]) as image:
            return ImageError("unsupported_type", f"{image.format} images are not accepted: send {ACCEPTED}")
    except Exception:  # nothing in Pillow knows it
        return ImageError("not_an_image", f"not an image: send {ACCEPTED}")


def _is_passthrough(image: Image.Image, data: bytes) -> bool:
    """Whether TensorFlow's `decode_image` gives the image a person sees from these very bytes."""
    if image.getexif().get(EXIF_ORIENTATION, 1) != 1:
        return False
    match image.format:
        case "JPEG" | "MPO":
            return image.mode in ("L", "RGB") and is_passthrough_jpeg(data)
        case "PNG":
            return is_passthrough_png(data)
        case "GIF":
            return is_passthrough_gif(data, image)
        case "BMP":
            return is_passthrough_bmp(data)
    return False


def _is_high_bit_depth(image: Image.Image, data: bytes) -> bool:
    """Whether a sample holds more than 8 bits; Pillow keeps only the upper 8 of such a colour image."""
    if image.format == "PNG":
        return data[24] == 16
    return image.mode in ("I", "F") or image.mode.startswith("I;") or max(_tiff_tag(image, TIFF_BITS_PER_SAMPLE, (8,))) > 8


def _tiff_tag(image: Image.Image, tag: int, default: Any) -> Any:
    return getattr(image, "tag_v2", {}).get(tag, default)


def _grey_or_rgb(image: Image.Image, *, high_bit_depth: bool) -> Image.Image:
    if high_bit_depth and image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return Image.fromarray(_rescale_to_uint8(np.asarray(image.convert("RGB"))))
    if high_bit_depth:
        return Image.fromarray(
            _rescale_to_uint8(np.asarray(image), inverted=_tiff_tag(image, TIFF_PHOTOMETRIC, 1) == WHITE_IS_ZERO)
        )
    wanted = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _rescale_to_uint8(levels: np.ndarray, *, inverted: bool = False) -> np.ndarray:
    """Scale numbers [h, w] or [h, w, 3] by their own minimum and maximum to uint8; a flat image becomes black.

    Args:
        levels: what came, of any type; infinity and NaN become black.
        inverted: the highest level is black.
    """
    scaled = np.zeros(levels.shape, np.uint8)
    finite = levels[np.isfinite(levels)]
    if not finite.size or finite.min() == finite.max():
        return scaled
    sign = -1 if inverted else 1
    low, high = sorted((sign * float(finite.min()), sign * float(finite.max())))
    for start in range(0, len(levels), ROWS_AT_ONCE):  # a whole image of float64 would take eight times its size
        rows = sign * levels[start : start + ROWS_AT_ONCE].astype(np.float64)
        in_range = np.where(np.isfinite(rows), rows - low, 0) * (255 / (high - low))
        scaled[start : start + ROWS_AT_ONCE] = in_range.round().astype(np.uint8)
    return scaled
