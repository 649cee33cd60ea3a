"""How many images a file holds, and where; which of them is chosen, and how large it may be."""

import io
import re
from collections.abc import Sequence
from itertools import islice

from PIL import Image

from brain_tumor.errors import ImageError
from brain_tumor.tiff import directories, is_full_image

MAX_INPUT_SIDE_PX = 65_535  # the limit of JPEG; TensorFlow's PNG decoder has one of a million
MAX_IMAGES_IN_FILE = 10_000  # further ones are not counted
GIF_END = b";"
# Binary PBM, PGM, PPM and PFM: kind, width, height, and but for PBM the highest level or the byte order.
PPM_GAP = rb"(?:\s|#[^\n\r]*+[\n\r])++"
PPM_HEADER = re.compile(rb"\s*+(P[4-6fF])" + PPM_GAP + rb"(\d{1,9})" + PPM_GAP + rb"(\d{1,9})")
PPM_LEVELS = re.compile(PPM_GAP + rb"([-+.\d]{1,20})")
PPM_CHANNELS = {b"P5": 1, b"P6": 3, b"Pf": 1, b"PF": 3}


def image_positions(image: Image.Image, data: bytes) -> Sequence[int]:
    """Return the positions of a file's images, as Pillow numbers them; in a PPM, byte offsets.

    Thumbnails (reduced-resolution copies) and transparency masks in a TIFF are no images of their own.

    Args:
        image: The opened file.
        data: Its bytes.
    """
    match image.format:
        case "GIF":
            return range(max(1, _count_gif_frames(data)))
        case "TIFF":
            pages = islice(directories(data), MAX_IMAGES_IN_FILE)
            return [number for number, page in enumerate(pages) if is_full_image(page)] or [0]
        case "PPM":
            return _ppm_offsets(data)
    return range(getattr(image, "n_frames", 1))


def choose_image(kind: str, count: int, frame: int | None) -> int:
    """Return the number, from 0, of the only image of a file, or of the chosen one of several.

    Args:
        kind: Format of the file, for the error.
        count: Number of images in the file.
        frame: Number of the chosen one, from 1; None if none is chosen.

    Raises:
        ImageError: `several_images` (and no `frame`) or `bad_request` (no such frame).
    """
    if frame is None and count > 1:
        message = f"the {kind} file holds {count} images, expected one; choose with `frame`, 1 to {count}"
        raise ImageError("several_images", message, count)
    if frame is not None and not 1 <= frame <= count:
        raise ImageError("bad_request", f"frame: got {frame}, expected 1 to {count}, the number of images in the file", count)
    return (frame or 1) - 1


def check_size(width_px: int, height_px: int, max_pixels: int) -> None:
    """Raise ImageError `too_large` if an image has more than `max_pixels`, or a longer side than `MAX_INPUT_SIDE_PX`."""
    size = f"got {width_px} x {height_px} pixels, expected"
    if max(width_px, height_px) > MAX_INPUT_SIDE_PX:
        raise ImageError("too_large", f"{size} sides of at most {MAX_INPUT_SIDE_PX:,}")
    if width_px * height_px > max_pixels:
        raise ImageError("too_large", f"{size} at most {max_pixels:,}")


def select_page(image: Image.Image, data: bytes, position: int) -> Image.Image:
    """Return the image at one of the `image_positions` of a file that is no animation, such as a TIFF or PPM."""
    if image.format == "PPM":
        return Image.open(io.BytesIO(data[position:]), formats=["PPM"]) if position else image
    image.seek(position)
    return image


def _count_gif_frames(data: bytes) -> int:
    position, frames = 13 + _gif_colours(data[10]) * 3, 0
    while position + 10 < len(data) and frames < MAX_IMAGES_IN_FILE and data[position : position + 1] != GIF_END:
        match data[position : position + 1]:
            case b",":
                frames += 1
                position = _after_gif_blocks(data, position + 11 + _gif_colours(data[position + 9]) * 3)
            case b"!":
                position = _after_gif_blocks(data, position + 2)
            case _:
                position += 1
    return frames


def _gif_colours(flags: int) -> int:
    return 2 << (flags & 7) if flags & 0x80 else 0


def _after_gif_blocks(data: bytes, position: int) -> int:
    """Return the position after a chain of data blocks; it is beyond the end of truncated data."""
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1


def _ppm_offsets(data: bytes) -> list[int]:
    offsets: list[int] = []
    position = 0
    while len(offsets) < MAX_IMAGES_IN_FILE and (found := _find_ppm(data, position)) is not None:
        start, position = found
        offsets.append(start)
    return offsets or [0]


def _find_ppm(data: bytes, position: int) -> tuple[int, int] | None:
    """Return start and end of the binary image that follows a position, after white space; None if there is none."""
    header = PPM_HEADER.match(data, position)
    if header is None:
        return None
    kind, width, height = header[1], int(header[2]), int(header[3])
    if kind == b"P4":
        return header.start(1), header.end() + 1 + -(-width // 8) * height
    levels = PPM_LEVELS.match(data, header.end())
    if levels is None:
        return None
    sample_bytes = 4 if kind in (b"Pf", b"PF") else 2 if levels[1].isdigit() and int(levels[1]) > 255 else 1
    return header.start(1), levels.end() + 1 + width * height * PPM_CHANNELS[kind] * sample_bytes
