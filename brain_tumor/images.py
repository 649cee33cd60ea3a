"""Read encoded images: which files pass unchanged, which are converted to PNG, and which are rejected.

Ingest and the transformer both call `read_image`, so training and serving treat an image alike.
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
MAX_INPUT_SIDE_PX = 65_535  # the limit of JPEG; TensorFlow's PNG decoder has one of a million
LARGE_PIXELS = 4_000_000  # larger images are decoded one at a time: the buffers of each take some hundred megabytes
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
ACCEPTED = "JPEG, PNG, GIF, BMP, TIFF, WebP, PPM or JPEG 2000"
EXIF_ORIENTATION = 0x0112
TIFF_BITS_PER_SAMPLE = 258
TIFF_PHOTOMETRIC = 262
WHITE_IS_ZERO = 0
ROWS_PER_CHUNK = 64

_large_image_lock = threading.Lock()

Image.init()
# Pillow warns about unusual metadata and about sizes that `read_image` checks anyway.
warnings.filterwarnings("ignore", module="PIL")


class ImageError(ValueError):
    """An invalid image file. `code` is `not_an_image`, `unsupported_type`, `corrupt` or `too_large`."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class InputImage:
    """A validated image that the model's graph can decode.

    Attributes:
        data: Encoded bytes for the graph: the input unchanged, or a PNG of the same image.
        image: The upright image as displayed, of mode `L` or `RGB`.
        format: Format of the input, detected from its content (`JPEG`, `PNG`, ...).
        mode: Pillow's mode of the input (`L`, `RGB`, `CMYK`, `I;16`, ...).
    """

    data: bytes
    image: Image.Image
    format: str
    mode: str

    @property
    def pixels(self) -> np.ndarray:
        """The image as displayed, uint8 [height, width, 3], 0-255."""
        return np.asarray(self.image.convert("RGB"))

    @property
    def width_px(self) -> int:
        return self.image.width

    @property
    def height_px(self) -> int:
        return self.image.height

    @property
    def brightness(self) -> float:
        """Mean grey level, 0-1."""
        counts = np.reshape(self.image.histogram(), (-1, 256)).sum(axis=0)
        return float(counts @ np.arange(256) / counts.sum()) / 255


def read_image(data: bytes, max_pixels: int = MAX_PIXELS) -> InputImage:
    """Decode an image in full, and return it with bytes that the model's graph decodes to the same pixels.

    JPEG, 8-bit PNG, GIF with one opaque frame and 24-bit BMP pass byte for byte if they conform to their format
    (`brain_tumor/formats.py`) and have no EXIF rotation. All others are converted to PNG.

    Args:
        data: Encoded image.
        max_pixels: Maximum number of pixels.

    Raises:
        ImageError: `not_an_image`, `unsupported_type` (DICOM, or a format outside `FORMATS`), `corrupt` (truncated or
            impossible to decode), `too_large` (more than `max_pixels`, checked before decoding).
    """
    image = _open(data, max_pixels)
    width, height = image.size
    if max(width, height) > MAX_INPUT_SIDE_PX:
        raise ImageError("too_large", f"got {width} x {height} pixels, expected sides of at most {MAX_INPUT_SIDE_PX:,}")
    if width * height > max_pixels:
        raise ImageError("too_large", f"got {width} x {height} pixels, expected at most {max_pixels:,}")
    try:
        with _large_image_lock if width * height > LARGE_PIXELS else contextlib.nullcontext():
            image.load()
            passthrough = _is_passthrough(image, data)
            upright = image if passthrough else ImageOps.exif_transpose(image)
            grey_or_rgb = _grey_or_rgb(upright, high_bit_depth=_is_high_bit_depth(image, data))
            encoded = data if passthrough else encode_png(grey_or_rgb)
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        raise ImageError("corrupt", f"the {image.format} image is corrupt or truncated: {type(error).__name__}") from error
    return InputImage(encoded, grey_or_rgb, image.format or "", image.mode)


def is_dicom(data: bytes) -> bool:
    """Check for a DICOM file, which starts with 128 arbitrary bytes (DICOM PS3.10)."""
    return data[128:132] == b"DICM"


def encode_png(image: Image.Image) -> bytes:
    """Encode an image as PNG, with fast compression."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _open(data: bytes, max_pixels: int) -> Image.Image:
    if is_dicom(data):
        raise ImageError(
            "unsupported_type", "DICOM files are not accepted; export the slice as PNG, with the window that a reader uses"
        )
    if is_jpeg_bomb(data):
        raise ImageError(
            "corrupt", "the JPEG has too many scans or fill bytes to decode; export it again as baseline JPEG or PNG"
        )
    if not data:
        raise ImageError("not_an_image", "the file is empty (0 bytes)")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError("too_large", f"expected at most {max_pixels:,} pixels") from error
    except UnidentifiedImageError as error:
        raise _unknown(data) from error
    except Exception as error:  # Pillow's plugin recognises the format and then fails on the header
        raise ImageError("corrupt", f"the image's header is corrupt: {type(error).__name__}") from error


def _unknown(data: bytes) -> ImageError:
    try:
        with Image.open(io.BytesIO(data), formats=[name for name in Image.ID if name not in FORMATS]) as image:
            return ImageError("unsupported_type", f"{image.format} images are not accepted; send {ACCEPTED}")
    except Exception:  # unknown to Pillow
        return ImageError("not_an_image", f"not an image; send {ACCEPTED}")


def _is_passthrough(image: Image.Image, data: bytes) -> bool:
    """Check whether TensorFlow's `decode_image` gives the image as displayed from the unchanged bytes."""
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
    """Check whether samples have more than 8 bits. Pillow keeps only the upper 8 bits of a colour image."""
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
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _rescale_to_uint8(levels: np.ndarray, *, inverted: bool = False) -> np.ndarray:
    """Rescale an image by its own minimum and maximum to uint8, 0-255; a uniform image becomes black.

    Args:
        levels: Pixels of any numeric type, [h, w] or [h, w, 3]; infinity and NaN become black.
        inverted: Whether the highest level is black.
    """
    scaled = np.zeros(levels.shape, np.uint8)
    finite = levels[np.isfinite(levels)]
    if not finite.size or finite.min() == finite.max():
        return scaled
    sign = -1 if inverted else 1
    low, high = sorted((sign * float(finite.min()), sign * float(finite.max())))
    for start in range(0, len(levels), ROWS_PER_CHUNK):  # float64 of the whole image would take eight times its size
        rows = sign * levels[start : start + ROWS_PER_CHUNK].astype(np.float64)
        in_range = np.where(np.isfinite(rows), rows - low, 0) * (255 / (high - low))
        scaled[start : start + ROWS_PER_CHUNK] = in_range.round().astype(np.uint8)
    return scaled
