"""Inspect one file: decode it, quarantine it if it is unusable, and compute the properties that reveal its copies."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brain_tumor.images import ImageError, InputImage, read_image
from components.ingest.alignment import brain_thumbnail
from components.ingest.near_copies import low_frequencies, pixel_hash

MAX_FILE_BYTES = 256 * 2**20
KEPT, EXACT_COPY, LABEL_CONFLICT, QUARANTINED = "kept", "exact_copy", "label_conflict", "quarantined"
EXTENSIONS = {b"\xff\xd8": "jpg", b"\x89P": "png"}


@dataclass(frozen=True)
class LabelledFile:
    """A file below a class folder.

    Attributes:
        file: Path on disk.
        path: Path in the manifest, relative to the parent of the class folders.
        label: Class name.
        mask: File with the lesion mask; None if there is none.
    """

    file: Path
    path: str
    label: str
    mask: Path | None = None


@dataclass(frozen=True)
class ImageProperties:
    """The properties of a readable image.

    Attributes:
        width_px, height_px: Size after EXIF rotation.
        mode, format: Pillow's mode and format of the original file.
        brightness: Mean grey level, 0-1.
        stored: File with the encoded bytes for the model's graph.
        extension: File name extension of these bytes.
        pixel_hash: Hash of the pixels, equal for exact copies.
        frequencies: DCT frequencies for the perceptual hash, float64 [8, 8].
        thumbnail: Brain crop for the second look, uint8 [48, 48].
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
    thumbnail: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class Record:
    """One row of the manifest.

    Attributes:
        labelled_file: File and its class.
        sha256: SHA-256 of the file's bytes; empty if they cannot be read.
        status: `kept`, `exact_copy`, `label_conflict` or `quarantined: <code>`; the manifest's column `verdict`.
        properties: Properties of the image; None if the file is quarantined.
        reason: Reason for the quarantine, in a sentence.
        group: Group of near copies; None unless the file is kept.
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
    """Return the properties of a readable file.

    Raises:
        ValueError: The file is quarantined.
    """
    if record.properties is None:
        raise ValueError(f"{record.path}: got status {record.status}, expected a readable image")
    return record.properties


def inspect_file(labelled_file: LabelledFile, converted: Path) -> Record:
    """Decode a file as the transformer does.

    Args:
        labelled_file: File to inspect.
        converted: Folder for images that are re-encoded as PNG for the model's graph.
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
        ImageError: `unreadable` (no regular file, no permission) or `too_large` (more than `MAX_FILE_BYTES`).
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
    """Return a name that is valid UTF-8: names from old archives may not be."""
    return name.encode("utf-8", "backslashreplace").decode()


def _image_properties(image: InputImage, stored: Path) -> ImageProperties:
    grey = np.asarray(image.image.convert("L"))
    return ImageProperties(
        width_px=image.width_px,
        height_px=image.height_px,
        mode=image.mode,
        format=image.format,
        brightness=image.brightness,
        stored=stored,
        extension=EXTENSIONS[image.data[:2]],
        pixel_hash=pixel_hash(image.pixels),
        frequencies=low_frequencies(grey),
        thumbnail=brain_thumbnail(grey),
    )
