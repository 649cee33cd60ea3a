"""Read one file: what it is, whether it can be used, and what its copies would share with it."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brain_tumor.images import ImageError, InputImage, read_image
from components.ingest.near_copies import low_frequencies, pixel_hash

MAX_FILE_BYTES = 256 * 2**20
KEPT, EXACT_COPY, LABEL_CONFLICT, QUARANTINED = "kept", "exact_copy", "label_conflict", "quarantined"
EXTENSIONS = {b"\xff\xd8": "jpg", b"\x89P": "png", b"GI": "gif", b"BM": "bmp"}


@dataclass(frozen=True)
class LabelledFile:
    """A file below a class folder.

    Attributes:
        file: where it lies.
        path: its name in the manifest, relative to the folder that holds the class folders.
        label: its class.
    """

    file: Path
    path: str
    label: str


@dataclass(frozen=True)
class ImageProperties:
    """What a readable image looks like.

    Attributes:
        width_px, height_px: its size as a person sees it.
        mode, format: Pillow's, of the file that came.
        brightness: mean grey level, 0-1.
        stored: the file that holds the bytes for the model's graph.
        extension: of those bytes.
        pixel_hash: shared by images of identical pixels.
        frequencies: float64 [8, 8], for the perceptual hash.
    """

    width_px: int
    height_px: int
    mode: str
    format: str
    brightness: float
    stored: Path
    extension: str
    pixel_hash: str
    frequencies: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class Record:
    """One file of the manifest.

    Attributes:
        labelled_file: the file.
        sha256: of its bytes; empty where they cannot be read.
        status: `kept`, `exact_copy`, `label_conflict` or `quarantined: <code>`.
        properties: what it looks like; None where it is quarantined.
        reason: why it is quarantined, in a sentence.
        group: the group of near copies it is in, where it is kept.
    """

    labelled_file: LabelledFile
    sha256: str
    status: str
    properties: ImageProperties | None = None
    reason: str = ""
    group: int | None = None

    @property
    def path(self) -> str:
        return self.labelled_file.path

    @property
    def label(self) -> str:
        return self.labelled_file.label


def properties_of(record: Record) -> ImageProperties:
    """Return the look of a readable file."""
    if record.properties is None:
        raise ValueError(f"{record.path} is {record.status}: it has no look")
    return record.properties


def inspect_file(labelled_file: LabelledFile, converted: Path) -> Record:
    """Read a file as the transformer would read it.

    Args:
        labelled_file: the file.
        converted: the folder for images that the graph is given as PNG.
    """
    sha256 = ""
    try:
        data = read_file(labelled_file.file)
        sha256 = hashlib.sha256(data).hexdigest()
        image = read_image(data)
    except ImageError as error:
        return Record(labelled_file, sha256, f"{QUARANTINED}: {error.code}", reason=str(error))
    stored = labelled_file.file
    if image.data is not data:
        stored = converted / sha256
        stored.write_bytes(image.data)
    return Record(labelled_file, sha256, KEPT, _image_properties(image, stored))


def read_file(file: Path) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        ImageError: `unreadable` (no regular file, no permission), or `too_large` (more than `MAX_FILE_BYTES`).
    """
    try:
        if not file.is_file():
            raise ImageError("unreadable", "not a regular file")
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ImageError("too_large", f"the file has more than {MAX_FILE_BYTES:,} bytes")
        return file.read_bytes()
    except OSError as error:
        raise ImageError("unreadable", f"the file cannot be read: {error.strerror}") from error


def escape_non_utf8(name: str) -> str:
    """Return a name that UTF-8 can hold: names from old archives may not be UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


def _image_properties(image: InputImage, stored: Path) -> ImageProperties:
    return ImageProperties(
        width_px=image.width_px,
        height_px=image.height_px,
        mode=image.mode,
        format=image.format,
        brightness=image.brightness,
        stored=stored,
        extension=EXTENSIONS[image.data[:2]],
        pixel_hash=pixel_hash(image.pixels),
        frequencies=low_frequencies(image.pixels),
    )
