"""Read encoded images: which files pass unchanged, which are converted to PNG, and which are rejected.

Ingest and the transformer both call `read_image`, so training and serving treat an image alike.
"""

import contextlib
import io
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from brain_tumor.appearance import alpha_channel, as_seen, bits_per_sample, is_black, upright_method
from brain_tumor.formats import Structure, read_structure
from brain_tumor.frames import image_positions, select_page
from brain_tumor.png import encode_pixels
from brain_tumor.unsupported import DICOM, is_dicom, jpeg_kind, unsupported_kind

MAX_PIXELS = 16_000_000
MAX_INPUT_SIDE_PX = 65_535  # the limit of JPEG; TensorFlow's PNG decoder has one of a million
MAX_LARGE_FRAMES = 20  # of `max_pixels`; smaller frames may be more: each is drawn over the ones before it
LARGE_PIXELS = 4_000_000  # larger images are decoded one at a time: the buffers of each take some hundred megabytes
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM", "JPEG2000")
ACCEPTED = "JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF, PPM or JPEG 2000"
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")

_large_image_lock = threading.Lock()

Image.init()
# Pillow warns about unusual metadata and about sizes that `read_image` checks anyway.
warnings.filterwarnings("ignore", module="PIL")


class ImageError(ValueError):
    """An invalid image file.

    Attributes:
        code: `not_an_image`, `unsupported_type`, `corrupt`, `too_large`, `invisible`, `several_images` or `bad_request`.
        images: Number of images in the file, if it is the reason.
    """

    def __init__(self, code: str, message: str, images: int = 1):
        super().__init__(message)
        self.code = code
        self.images = images


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


def read_image(data: bytes, max_pixels: int = MAX_PIXELS, frame: int | None = None) -> InputImage:
    """Decode an image in full, and return it with bytes that the model's graph decodes to the same pixels.

    JPEG (baseline or progressive, grey or YCbCr) and 8-bit PNG without transparency and animation pass byte for byte if they
    conform to their format (`brain_tumor/formats.py`) and have no EXIF rotation. All others are converted to a PNG of the image
    as seen on black. Metadata that no pixel depends on is not read.

    Args:
        data: Encoded image.
        max_pixels: Maximum number of pixels.
        frame: Number of the image in a file with several, from 1.

    Raises:
        ImageError: `not_an_image`, `unsupported_type` (DICOM, or a format outside `FORMATS`), `corrupt` (truncated or
            impossible to decode), `too_large` (more than `max_pixels`, checked before decoding), `invisible` (transparent, or
            black where it is not), `several_images` (and no `frame`), `bad_request` (no such frame).
    """
    structure = read_structure(data)
    image, skipped = _open(data, structure, max_pixels, frame)
    _check_size(image, max_pixels, frames=skipped + 1)
    try:
        with _large_image_lock if image.width * image.height > LARGE_PIXELS else contextlib.nullcontext():
            for number in range(skipped):
                image.seek(number + 1)
                _check_size(image, max_pixels)  # a GIF's frame may enlarge it
            image.load()
            bits = bits_per_sample(image, data)
            alpha = alpha_channel(image, bits)
            seen = as_seen(image, alpha, bits)
            passes = structure.passes and image.mode != "CMYK" and upright_method(image) is None
            encoded = data if passes else encode_pixels(np.asarray(seen))
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        if kind := jpeg_kind(*structure.frame):
            raise ImageError("unsupported_type", kind) from error
        raise ImageError("corrupt", f"the {image.format} image is corrupt or truncated; export it again") from error
    if alpha is not None and is_black(seen):
        raise ImageError(
            "invisible",
            "nothing is seen of the image on black, as transparency is read: what it shows is in its alpha channel alone, or is "
            "transparent; export it without transparency",
        )
    return InputImage(encoded, seen, image.format or "", image.mode)


def encode_png(image: Image.Image) -> bytes:
    """Encode an image as PNG with Pillow: smaller than by `encode_pixels`, and slower."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _open(data: bytes, structure: Structure, max_pixels: int, frame: int | None) -> tuple[Image.Image, int]:
    """Return the chosen image of a file, and the number of frames to skip if it is an animation."""
    if is_dicom(data):
        raise ImageError("unsupported_type", DICOM)
    if structure.is_bomb:
        raise ImageError("corrupt", "the JPEG has too many scans or tables to decode; export it again as baseline JPEG or PNG")
    if not data:
        raise ImageError("not_an_image", "the file is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(structure.needed), formats=FORMATS)
        position = _choose(image.format, image_positions(image, structure.needed), frame)
        if image.format in ANIMATED:
            return image, position
        return select_page(image, structure.needed, position), 0
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("too_large", f"got hundreds of megapixels, expected at most {max_pixels:,}") from error
    except UnidentifiedImageError as error:
        raise _unknown(data, structure) from error
    except Exception as error:  # Pillow's plugin recognises the format and then fails on the header
        raise ImageError("corrupt", "the image's header is corrupt; export it again") from error


def _choose(image_format: str | None, positions: Sequence[int], frame: int | None) -> int:
    """Return the position of the only image of a file, or of the chosen one of several."""
    count = len(positions)
    if frame is None and count > 1:
        message = f"the {image_format} file holds {count} images, expected one; choose with `frame`, 1 to {count}"
        raise ImageError("several_images", message, count)
    if frame is not None and not 1 <= frame <= count:
        raise ImageError("bad_request", f"frame: got {frame}, expected 1 to {count}, the number of images in the file", count)
    return positions[(frame or 1) - 1]


def _unknown(data: bytes, structure: Structure) -> ImageError:
    kind = unsupported_kind(data, structure)
    if kind is not None:
        return ImageError("unsupported_type", kind)
    try:
        with Image.open(io.BytesIO(data), formats=[name for name in Image.ID if name not in FORMATS]) as image:
            return ImageError("unsupported_type", f"{image.format} images are not accepted; send {ACCEPTED}")
    except Exception:  # unknown to Pillow
        return ImageError("not_an_image", f"not an image; send {ACCEPTED}")


def _check_size(image: Image.Image, max_pixels: int, *, frames: int = 1) -> None:
    width, height = image.size
    if max(width, height) > MAX_INPUT_SIDE_PX:
        raise ImageError("too_large", f"got {width} x {height} pixels, expected sides of at most {MAX_INPUT_SIDE_PX:,}")
    if width * height > max_pixels:
        raise ImageError("too_large", f"got {width} x {height} pixels, expected at most {max_pixels:,}")
    if width * height * frames > max_pixels * MAX_LARGE_FRAMES:
        limit = max_pixels * MAX_LARGE_FRAMES
        raise ImageError("too_large", f"got {frames} frames of {width} x {height} pixels to decode, expected at most {limit:,}")
