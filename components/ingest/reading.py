"""Inspect files: decode them, quarantine those that are unusable, and compute the properties that reveal copies."""

import functools
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from brain_tumor.errors import ImageError
from brain_tumor.images import InputImage, read_image
from components.ingest.alignment import THUMBNAIL_SIDE_PX, brain_thumbnail
from components.ingest.hashes import HASH_SIDE, low_frequencies, pixel_hash
from components.progress import with_progress
from components.workers import MAX_PROCESS_BYTES, SECONDS_PER_CHUNK, Failure, Workers

MAX_FILE_BYTES = 256 * 2**20
KEPT, EXACT_COPY, LABEL_CONFLICT, QUARANTINED = "kept", "exact_copy", "label_conflict", "quarantined"
EXTENSIONS = {b"\xff\xd8": "jpg", b"\x89P": "png"}


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """A file below a class folder.

    Attributes:
        file: Path on disk.
        path: Path in the manifest, relative to the parent of the class folders.
        label: Class name.
        mask: File with the lesion mask; None if there is none.
        was_read: Whether it has been read before. A source may be far away, so no file of it is read a third time.
    """

    file: Path
    path: str
    label: str
    mask: Path | None = None
    was_read: bool = False


@dataclass(frozen=True, slots=True)
class ImageProperties:
    """The properties of a readable image.

    Attributes:
        width_px, height_px: Size after EXIF rotation.
        mode, format: Pillow's mode and format of the original file.
        brightness: Mean grey level, 0-1.
        stored: File with the encoded bytes for the model's graph; None if it is the original file.
        extension: File name extension of these bytes.
        pixel_hash: Hash of the pixels, equal for exact copies.
        identity: What images of one patient, study or series have in common; never written.
    """

    width_px: int
    height_px: int
    mode: str
    format: str
    brightness: float
    stored: Path | None
    extension: str
    pixel_hash: str
    identity: tuple[str, ...] = ()


class Fingerprint(NamedTuple):
    """What shows that an image is a near copy of another.

    Attributes:
        frequencies: DCT frequencies for the perceptual hash, float64 [8, 8].
        thumbnail: Brain crop for the second look, uint8 [48, 48].
    """

    frequencies: np.ndarray
    thumbnail: np.ndarray


@dataclass(frozen=True)
class Fingerprints:
    """The fingerprints of n files: frequencies, float64 [n, 8, 8], and thumbnails, uint8 [n, 48, 48]."""

    frequencies: np.ndarray
    thumbnails: np.ndarray

    def keep(self, rows: np.ndarray) -> "Fingerprints":
        """Return some rows, int [m], in ascending order. They are moved, not copied: with many files a copy counts."""
        for place, row in enumerate(rows.tolist()):
            self.frequencies[place], self.thumbnails[place] = self.frequencies[row], self.thumbnails[row]
        return Fingerprints(self.frequencies[: len(rows)], self.thumbnails[: len(rows)])


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the manifest.

    Attributes:
        labelled_file: File and its class.
        sha256: SHA-256 of the file's bytes; empty if they cannot be read.
        status: `kept`, `exact_copy`, `label_conflict` or `quarantined: <code>`; the manifest's column `verdict`.
        properties: Properties of the image; None if the file is quarantined.
        reason: Reason for the quarantine, in a sentence.
        group: Group of near copies and of the images of a patient; None unless the file is kept.
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

    @property
    def stored(self) -> Path:
        """File with the encoded bytes for the model's graph."""
        return (self.properties and self.properties.stored) or self.labelled_file.file


def properties_of(record: Record) -> ImageProperties:
    """Return the properties of a readable file.

    Raises:
        ValueError: The file is quarantined.
    """
    if record.properties is None:
        raise ValueError(f"{record.path}: got status {record.status}, expected a readable image")
    return record.properties


def inspect_files(files: list[LabelledFile], converted: Path, workers: Workers) -> tuple[list[Record], Fingerprints]:
    """Inspect every file, and quarantine one that ends its process or takes too long.

    Args:
        files: Files to inspect.
        converted: Folder for images that are re-encoded as PNG for the model's graph.
        workers: Processes that read the files.

    Returns:
        A record for each file, and their fingerprints; that of an unusable file is arbitrary.
    """
    records = []
    fingerprints = Fingerprints(
        np.empty((len(files), HASH_SIDE, HASH_SIDE)), np.empty((len(files), THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), np.uint8)
    )
    inspect = functools.partial(inspect_file, converted=converted)
    results = workers.map(inspect, files, seconds_per_chunk=SECONDS_PER_CHUNK)
    for row, result in enumerate(with_progress(results, "ingest: read files", total=len(files))):
        if isinstance(result, Failure):
            records.append(Record(files[row], "", f"{QUARANTINED}: {result.code}", reason=result.reason))
            continue
        record, fingerprint = result
        records.append(replace(record, labelled_file=files[row]))  # the other process's copy takes memory
        if fingerprint:
            fingerprints.frequencies[row], fingerprints.thumbnails[row] = fingerprint
    return records, fingerprints


def inspect_file(labelled_file: LabelledFile, converted: Path) -> tuple[Record, Fingerprint | None]:
    """Decode a file as the transformer does; without a fingerprint if it is unusable.

    Args:
        labelled_file: File to inspect.
        converted: Folder for images that are re-encoded as PNG for the model's graph.
    """
    sha256 = ""
    try:
        data = read_file(labelled_file.file)
        sha256 = hashlib.sha256(data).hexdigest()
        image = read_image(data)
    except (ImageError, MemoryError) as error:
        code, reason = _why_unusable(error)
        return Record(labelled_file, sha256, f"{QUARANTINED}: {code}", reason=reason), None
    stored = None
    if image.data is not data or labelled_file.was_read:
        stored = converted / sha256
        stored.write_bytes(image.data)
    pixels = np.asarray(image.image)
    grey = pixels if pixels.ndim == 2 else np.asarray(image.image.convert("L"))
    fingerprint = Fingerprint(low_frequencies(grey), brain_thumbnail(grey))
    return Record(labelled_file, sha256, KEPT, _image_properties(image, pixels, stored)), fingerprint


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


def _why_unusable(error: ImageError | MemoryError) -> tuple[str, str]:
    """Return code and reason of a quarantine."""
    if isinstance(error, ImageError) and not isinstance(error.__cause__, MemoryError):
        return error.code, str(error)
    return "out_of_memory", f"decoding it takes more than {MAX_PROCESS_BYTES / 2**30:.0f} GiB of memory"


def _image_properties(image: InputImage, pixels: np.ndarray, stored: Path | None) -> ImageProperties:
    return ImageProperties(
        width_px=image.width_px,
        height_px=image.height_px,
        mode=image.mode,
        format=image.format,
        brightness=image.brightness,
        stored=stored,
        extension=EXTENSIONS[image.data[:2]],
        pixel_hash=pixel_hash(pixels),
        identity=image.dicom.identity if image.dicom else (),
    )
