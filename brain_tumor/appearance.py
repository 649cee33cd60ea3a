"""An image as a person sees it: upright, grey or RGB with 8 bits, on black where it is transparent."""

from typing import Any

import numpy as np
from PIL import Image, ImageChops
from PIL.Image import Transpose

EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
TIFF_BITS_PER_SAMPLE = 258
TIFF_PHOTOMETRIC = 262
WHITE_IS_ZERO = 0
ROWS_PER_CHUNK = 64
MAX_INVISIBLE_LEVEL = 8  # of 255: lossy compression leaves noise on black


def upright_method(image: Image.Image) -> Transpose | None:
    """Return what turns a decoded image upright by its metadata; None if it is upright, or the metadata cannot be read."""
    try:
        return UPRIGHT.get(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # Pillow's reader raises SyntaxError, struct.error, ValueError, ...
        return None


def alpha_channel(image: Image.Image, bits: int) -> Image.Image | None:
    """Return the opacity of a decoded image, mode `L`; None if every pixel is opaque.

    Args:
        image: Decoded image.
        bits: Bits of a sample in the file.
    """
    if not image.has_transparency_data:
        return None
    if image.mode in ("1", "L", "I", "I;16", "RGB"):  # one colour is transparent
        levels = np.asarray(image.convert("L") if image.mode == "1" else image)
        key = np.array(image.info["transparency"])
        if image.mode == "RGB":
            key = key >> max(bits - 8, 0)  # Pillow keeps the upper 8 bits of a colour
        elif image.mode == "L":
            key = key * 255 // (2**bits - 1)
        same = (levels == key).reshape(*levels.shape[:2], -1).all(axis=2)
        alpha = Image.fromarray(np.where(same, np.uint8(0), np.uint8(255)))
    else:
        alpha = (image if image.mode in ("LA", "RGBA") else image.convert("RGBA")).getchannel("A")
    extrema = alpha.getextrema()
    is_unused = extrema == (0, 0) and image.format == "BMP"  # whose fourth byte is often left 0
    return None if extrema == (255, 255) or is_unused else alpha


def as_seen(image: Image.Image, alpha: Image.Image | None, bits: int) -> Image.Image:
    """Return a decoded image as a person sees it, of mode `L` or `RGB`.

    Samples of more than 8 bits are rescaled by the minimum and maximum of what is not transparent.

    Args:
        image: Decoded image.
        alpha: Its `alpha_channel`.
        bits: Bits of a sample in the file.
    """
    is_single_channel = image.mode in ("I", "F") or image.mode.startswith("I;")
    if bits > 8 or is_single_channel:
        levels = np.asarray(image if is_single_channel else image.convert("RGB"))
        inverted = is_single_channel and _tiff_tag(image, TIFF_PHOTOMETRIC, 1) == WHITE_IS_ZERO
        seen = Image.fromarray(_rescale_to_uint8(levels, None if alpha is None else np.asarray(alpha) > 0, inverted=inverted))
    else:
        seen = _grey(image) or _without_transparent_colour(image)
        mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
        seen = seen if seen.mode in ("L", mode) else seen.convert(mode)
    if alpha is not None:
        black = Image.new(seen.mode, seen.size)
        black.paste(seen, mask=alpha)
        seen = black
    method = upright_method(image)
    return seen if method is None else seen.transpose(method)


def is_black(image: Image.Image) -> bool:
    """Check whether nothing is seen in an image of mode `L` or `RGB`."""
    return bool(np.asarray(image).max() <= MAX_INVISIBLE_LEVEL)


def bits_per_sample(image: Image.Image, data: bytes) -> int:
    """Return the bits of a sample in the file, of which Pillow may keep the upper 8; 8 if the format has no others."""
    if image.format == "PNG":
        return data[24]
    return max(_tiff_tag(image, TIFF_BITS_PER_SAMPLE, (8,)))


def _tiff_tag(image: Image.Image, tag: int, default: Any) -> Any:
    return getattr(image, "tag_v2", {}).get(tag, default)


def _grey(image: Image.Image) -> Image.Image | None:
    """Return the grey levels of an image of mode `RGBA` without colours, which take a third of the time to blend and encode."""
    if image.mode != "RGBA":
        return None
    red, green, blue, _ = image.split()
    return None if any(ImageChops.difference(red, other).getbbox() for other in (green, blue)) else red


def _without_transparent_colour(image: Image.Image) -> Image.Image:
    if "transparency" not in image.info:
        return image
    copy = image.copy()
    del copy.info["transparency"]
    return copy


def _rescale_to_uint8(levels: np.ndarray, visible: np.ndarray | None, *, inverted: bool = False) -> np.ndarray:
    """Rescale an image by the minimum and maximum of its visible pixels to uint8, 0-255; a uniform image becomes black.

    Args:
        levels: Pixels of any numeric type, [h, w] or [h, w, 3]; infinity and NaN become black.
        visible: bool [h, w]; None if all are.
        inverted: Whether the highest level is black.
    """
    scaled = np.zeros(levels.shape, np.uint8)
    shown = levels if visible is None else levels[visible]
    finite = shown[np.isfinite(shown)]
    if not finite.size or finite.min() == finite.max():
        return scaled
    sign = -1 if inverted else 1
    low, high = sorted((sign * float(finite.min()), sign * float(finite.max())))
    for start in range(0, len(levels), ROWS_PER_CHUNK):  # float64 of the whole image would take eight times its size
        rows = sign * levels[start : start + ROWS_PER_CHUNK].astype(np.float64)
        in_range = np.where(np.isfinite(rows), rows - low, 0).clip(0, high - low) * (255 / (high - low))
        scaled[start : start + ROWS_PER_CHUNK] = in_range.round().astype(np.uint8)
    return scaled
