"""How many images a file holds, and where."""

import io
import re
from collections.abc import Sequence
from itertools import islice

from PIL import Image

from brain_tumor.tiff import directories, is_full_image

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
