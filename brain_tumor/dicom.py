"""Read a DICOM file: the image as a viewer displays it, and the few facts about it that identify nobody.

`brain_tumor/dicom_decoder.py` does the reading in processes of its own, one pool in each process that reads DICOM.
"""

import re
import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from brain_tumor.errors import ImageError
from brain_tumor.processes import CallError, Processes

MAX_FRAMES = 512
DECODERS = 2
DECODE_SECONDS = 10.0
DECODER_BYTES = 512 * 2**20
DAMAGED = "the DICOM file is corrupt or truncated; export it again"
# Data elements of the groups with which a file begins, in the order of their tags (DICOM PS3.5 7.1).
FIRST_GROUPS = (0x0002, 0x0008)
VALUE_REPRESENTATION = re.compile(rb"A[EST]|CS|D[AST]|F[DL]|IS|L[OT]|O[BDFLVW]|PN|S[HLQSTV]|TM|U[CILNRSTV]")
MACOS_FOLDER, DICOM_DIRECTORY = "__MACOSX", "DICOMDIR"
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")

_decoders = Processes("brain_tumor.dicom_decoder", count=DECODERS, seconds=DECODE_SECONDS, memory_bytes=DECODER_BYTES)


class Window(NamedTuple):
    """The grey levels that are displayed, in the units of the rescaled pixels.

    Attributes:
        center: Level of middle grey.
        width: Range of the levels from black to white.
    """

    center: float
    width: float


@dataclass(frozen=True)
class DicomImage:
    """One frame of a DICOM file.

    Attributes:
        pixels: The image as displayed, uint8 [height, width] or [height, width, 3], 0-255, with square pixels.
        mode: Photometric interpretation in the file (`MONOCHROME2`, `RGB`, ...).
        frames: Number of frames in the file.
        warnings: Any of `not_mr` (by its modality) and `not_head` (its body part is plainly another one).
        window: Window by which the image is displayed; None for a VOI LUT or colours.
        levels: Lowest and highest grey level, in the units of the window; None for colours, or if no level is finite.
        position_mm: Position along the normal of the image; None if the file does not state it.
        normal: Normal of the image in the patient's coordinates, a unit vector; None if the file does not state it.
        instance_number: Instance Number; None if the file does not state it.
        identity: `patient`, `study` and `series`, as far as stated, each with a SHA-256 digest: equal for the same. They are
            for comparison in memory, and not to be written: a guessed patient ID can be checked against them.
    """

    pixels: np.ndarray
    mode: str
    frames: int
    warnings: tuple[str, ...]
    window: Window | None
    levels: tuple[float, float] | None
    position_mm: float | None
    normal: tuple[float, float, float] | None
    instance_number: int | None
    identity: tuple[str, ...]


def is_dicom(data: bytes) -> bool:
    """Check for a DICOM file: `DICM` after 128 arbitrary bytes (DICOM PS3.10), or data elements from the first byte on."""
    if data[128:132] == b"DICM":
        has_meta_information = data[132:134] == b"\x02\x00"
        return has_meta_information or not data.startswith((b"\xff\xd8\xff", b"\x89PNG"))  # whose metadata may have it
    return any(_begins_with_elements(data, order) for order in "<>")


def is_slice_path(path: str) -> bool:
    """Check by its path whether a file of a folder or a zip may be a slice.

    Folders, hidden files, those of macOS and a DICOMDIR are none.
    """
    parts = path.replace("\\", "/").split("/")
    is_hidden = any(part == MACOS_FOLDER or (part.startswith(".") and part.strip(".")) for part in parts)
    return not is_hidden and parts[-1].upper() not in ("", DICOM_DIRECTORY)


def read_dicom(data: bytes, max_pixels: int, frame: int | None = None, window: Window | None = None) -> DicomImage:
    """Decode one frame in full, in another process, as a viewer displays it.

    Args:
        data: The file.
        max_pixels: Maximum number of pixels of a frame.
        frame: Number of the frame in a file with several, from 1.
        window: Window to display; None for the first one of the file, else its VOI LUT, else from 1st to 99th percentile.

    Raises:
        ImageError: `unsupported_type` (no image, or a compression that is not read), `corrupt` (truncated, or its decoder
            crashes, hangs or exhausts its memory), `too_large` (more than `max_pixels` or `MAX_FRAMES`, checked before
            decoding), `several_images` (and no `frame`), `bad_request` (no such frame).
        RuntimeError: No process can be started.
    """
    try:
        answer = _decoders.call((data, max_pixels, frame, window))
    except CallError as error:
        raise ImageError("corrupt", f"the DICOM file cannot be decoded: {error}; export it again") from None
    if isinstance(answer, ImageError):
        raise answer
    return answer


def _begins_with_elements(data: bytes, order: str) -> bool:
    """Check that a file begins with two data elements of group 2 or 8 in ascending order, in either transfer syntax."""
    position, tags = 0, [(0, -1)]
    while len(tags) < 3:
        if position + 8 > len(data):
            return False
        group, element, representation, short = struct.unpack_from(f"{order}HH2sH", data, position)
        if group not in FIRST_GROUPS or (group, element) <= tags[-1]:
            return False
        tags.append((group, element))
        (length,) = struct.unpack_from(f"{order}I", data, position + 4)
        position += 8
        if VALUE_REPRESENTATION.fullmatch(representation):
            length = short
            if representation in LONG:
                length = int.from_bytes(data[position : position + 4], "little" if order == "<" else "big")
                position += 4
        position += length
    return True
