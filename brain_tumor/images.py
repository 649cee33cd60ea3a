"""Read encoded images: which files pass unchanged, which are converted to PNG, and which are rejected.

Ingest and the transformer both call `read_image`, so training and serving treat an image alike.
"""

import contextlib
import io
import threading
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from brain_tumor.appearance import alpha_channel, as_seen, bits_per_sample, is_black, upright_method
from brain_tumor.dicom import DicomImage, is_dicom, read_dicom
from brain_tumor.errors import ImageError
from brain_tumor.formats import Structure, read_structure
from brain_tumor.frames import check_size, choose_image, image_positions, select_page
from brain_tumor.png import encode_pixels
from brain_tumor.unsupported import jpeg_kind, unsupported_kind

MAX_PIXELS = 16_000_000
MAX_LARGE_FRAMES = 20  # of `max_pixels`; smaller frames may be more: each is drawn over the ones before it
LARGE_PIXELS = 4_000_000  # larger images are decoded one at a time: the buffers of each take some hundred megabytes
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM", "JPEG2000")
ACCEPTED = "JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF, PPM, JPEG 2000 or DICOM"
INVISIBLE = (
    "nothing is seen of the image on black, as transparency is read: what it shows is in its alpha channel alone, or is "
    "transparent; export it without transparency"
)
JPEG_REDUCTION = 8  # the most that libjpeg offers
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")

_large_image_lock = threading.Lock()

Image.init()
# Pillow warns about unusual metadata and about sizes that `read_image` checks anyway.
warnings.filterwarnings("ignore", module="PIL")


@dataclass(frozen=True)
class InputImage:
    """A validated image that the model's graph can decode.

    Attributes:
        data: Encoded bytes for the graph: the input unchanged, or a PNG of the same image.
        image: The upright image as displayed, of mode `L` or `RGB`; a JPEG may be reduced to an eighth of its size.
        format: Format of the input, detected from its content (`JPEG`, `DICOM`, ...).
        mode: Pillow's mode of the input (`L`, `RGB`, `CMYK`, `I;16`, ...), or the photometric interpretation of a DICOM file.
        width_px, height_px: Size of the upright image, not reduced.
        dicom: What a DICOM file states; None for the other formats.
    """

    data: bytes
    image: Image.Image
    format: str
    mode: str
    width_px: int
    height_px: int
    dicom: DicomImage | None = None

    @property
    def pixels(self) -> np.ndarray:
        """The image as displayed, uint8 [height, width, 3], 0-255."""
        return np.asarray(self.image.convert("RGB"))

    @property
    def brightness(self) -> float:
        """Mean grey level, 0-1."""
        if self.image.size == (self.width_px, self.height_px):
            counts = np.reshape(self.image.histogram(), (-1, 256)).sum(axis=0)
            return float(counts @ np.arange(256) / counts.sum()) / 255
        rows, columns = _pixels_of_reduced(self.height_px), _pixels_of_reduced(self.width_px)
        levels = np.asarray(self.image).reshape(len(rows), -1)
        sums = columns @ (rows @ levels).reshape(len(columns), -1)  # of each channel
        return float(sums.mean()) / (self.width_px * self.height_px * 255)


class OpenedImage:
    """An image file whose header was read, before its pixels are decoded.

    Attributes:
        passing: The bytes of the file if it passes unchanged, should it decode; else None.
        pixels: The number of pixels that are decoded, of the frames before the chosen one too.
    """

    def __init__(self, data: bytes, max_pixels: int, frame: int | None):
        self._data, self._max_pixels = data, max_pixels
        self._structure = read_structure(data)
        self._image, self._skipped = _open(data, self._structure, max_pixels, frame)
        _check_size(self._image, max_pixels, frames=self._skipped + 1)
        self.pixels = self._image.width * self._image.height * (self._skipped + 1)
        self.passing = data if self._passes(self._image) and not self._structure.may_turn else None

    def _passes(self, image: Image.Image) -> bool:
        return self._structure.passes and image.mode != "CMYK" and upright_method(image) is None

    def decode(self, *, reduced: bool = False) -> InputImage:
        """Decode the image in full, once; arguments and errors as those of `read_image`."""
        image, skipped = self._image, self._skipped
        del self._image  # or its pixels stay in memory with this object
        try:
            with _large_image_lock if image.width * image.height > LARGE_PIXELS else contextlib.nullcontext():
                for number in range(skipped):
                    image.seek(number + 1)
                    _check_size(image, self._max_pixels)  # a GIF's frame may enlarge it
                size = image.size
                if is_reduced := reduced and self.passing is not None and image.format == "JPEG" and min(size) >= JPEG_REDUCTION:
                    image.draft(image.mode, (1, 1))
                image.load()
                bits = bits_per_sample(image, self._data)
                alpha = alpha_channel(image, bits)
                seen = as_seen(image, alpha, bits)
                passes = self.passing is not None or self._passes(image)
                encoded = self._data if passes else _encode(np.asarray(seen))
        except ImageError:
            raise
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            if kind := jpeg_kind(*self._structure.frame):
                raise ImageError("unsupported_type", kind) from error
            raise ImageError("corrupt", f"the {image.format} image is corrupt or truncated; export it again") from error
        if alpha is not None and is_black(seen):
            raise ImageError("invisible", INVISIBLE)
        return InputImage(encoded, seen, image.format or "", image.mode, *(size if is_reduced else seen.size))


class OpenedDicom:
    """A DICOM file, all of which another process reads.

    Attributes:
        passing: None: it is converted.
    """

    passing = None

    def __init__(self, data: bytes, max_pixels: int, frame: int | None):
        self._data, self._max_pixels, self._frame = data, max_pixels, frame

    def decode(self, *, reduced: bool = False) -> InputImage:
        """Decode the image in full; errors as those of `read_image`."""
        dicom = read_dicom(self._data, self._max_pixels, self._frame)
        seen = Image.fromarray(dicom.pixels)
        return InputImage(_encode(dicom.pixels), seen, "DICOM", dicom.mode, *seen.size, dicom)


def open_image(data: bytes, max_pixels: int = MAX_PIXELS, frame: int | None = None) -> OpenedImage | OpenedDicom:
    """Read the header of an image, but for DICOM; arguments and errors as those of `read_image`."""
    return (OpenedDicom if is_dicom(data) else OpenedImage)(data, max_pixels, frame)


def read_image(data: bytes, max_pixels: int = MAX_PIXELS, frame: int | None = None, *, reduced: bool = False) -> InputImage:
    """Decode an image in full, and return it with bytes that the model's graph decodes to the same pixels.

    JPEG (baseline or progressive, grey or YCbCr) and 8-bit PNG without transparency and animation pass byte for byte if they
    conform to their format (`brain_tumor/formats.py`) and have no EXIF rotation. All others are converted to a PNG of the image
    as seen on black, or as a viewer displays a DICOM file. Metadata that no pixel depends on is not read.

    Args:
        data: Encoded image.
        max_pixels: Maximum number of pixels.
        frame: Number of the image in a file with several, from 1.
        reduced: Whether to decode a JPEG that passes at an eighth of its size, which also reads all of its data, in less time.

    Raises:
        ImageError: `not_an_image`, `unsupported_type` (a format outside `ACCEPTED`), `corrupt` (truncated or impossible to
            decode), `too_large` (more than `max_pixels`, checked before decoding), `invisible` (transparent, or
            black where it is not), `several_images` (and no `frame`), `bad_request` (no such frame).
    """
    return open_image(data, max_pixels, frame).decode(reduced=reduced)


def encode_png(image: Image.Image) -> bytes:
    """Encode an image as PNG with Pillow: smaller than by `encode_pixels`, and slower."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _encode(pixels: np.ndarray) -> bytes:
    """Encode pixels as PNG; those that are all grey with a third of the samples, which the graph decodes to the same pixels."""
    if pixels.ndim == 3 and all(np.array_equal(pixels[..., 0], pixels[..., channel]) for channel in (1, 2)):
        pixels = pixels[..., 0]
    return encode_pixels(pixels)


def _pixels_of_reduced(side_px: int) -> np.ndarray:
    """Return for how many pixels along a side each pixel of a reduced JPEG stands: the last for the fewer that are left."""
    reduced = -(-side_px // JPEG_REDUCTION)
    pixels = np.full(reduced, JPEG_REDUCTION)
    pixels[-1] -= reduced * JPEG_REDUCTION - side_px
    return pixels


def _open(data: bytes, structure: Structure, max_pixels: int, frame: int | None) -> tuple[Image.Image, int]:
    """Return the chosen image of a file, and the number of frames to skip if it is an animation."""
    if structure.is_bomb:
        raise ImageError("corrupt", "the JPEG has too many scans or tables to decode; export it again as baseline JPEG or PNG")
    if not data:
        raise ImageError("not_an_image", "the file is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(structure.needed), formats=FORMATS)
        positions = image_positions(image, structure.needed)
        position = positions[choose_image(str(image.format), len(positions), frame)]
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
    check_size(width, height, max_pixels)
    if width * height * frames > max_pixels * MAX_LARGE_FRAMES:
        limit = max_pixels * MAX_LARGE_FRAMES
        raise ImageError("too_large", f"got {frames} frames of {width} x {height} pixels to decode, expected at most {limit:,}")
