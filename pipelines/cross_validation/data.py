"""The images of a cross-validation, and external sets to test on."""

import csv
import dataclasses
import hashlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from brain_tumor.classes import NO_TUMOR
from brain_tumor.errors import ImageError, InputError
from brain_tumor.images import read_image
from components.dataset import ImagesZip
from components.ingest.alignment import brain_thumbnail
from components.ingest.folder_walk import is_hidden
from components.ingest.hashes import low_frequencies
from components.ingest.ingest import ingest
from components.ingest.masks import MASKS_FOLDER, MaskError, find_mask, mask_key, read_mask
from components.ingest.near_copies import find_near_copies

IMAGES_FOLDER = "images"
TUMOR = "tumor"


@dataclass(frozen=True)
class ImageSet:
    """A data set after ingest.

    Attributes:
        name: Name for the report: the last part of the source.
        classes: Class names.
        encoded: The encoded images as the model receives them.
        sha256: Their SHA-256.
        labels: Indices of their classes, int [n].
        groups: Numbers of their groups of near copies, int [n].
        geometry: Width, height, aspect ratio, file size and format of the original files, float [n, k].
        masks: Their lesion masks, bool [height, width]; None where there is none.
    """

    name: str
    classes: list[str]
    encoded: list[bytes]
    sha256: list[str]
    labels: np.ndarray
    groups: np.ndarray
    geometry: np.ndarray
    masks: list[np.ndarray | None]

    def __len__(self) -> int:
        return len(self.encoded)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the images and their labels."""
        lines = sorted(f"{sha256} {label}" for sha256, label in zip(self.sha256, self.labels.tolist(), strict=True))
        return hashlib.sha256("\n".join([*self.classes, *lines]).encode()).hexdigest()

    def select(self, chosen: np.ndarray) -> "ImageSet":
        """Return the images at some indices, int [m]."""
        return dataclasses.replace(
            self,
            encoded=[self.encoded[i] for i in chosen],
            sha256=[self.sha256[i] for i in chosen],
            labels=self.labels[chosen],
            groups=self.groups[chosen],
            geometry=self.geometry[chosen],
            masks=[self.masks[i] for i in chosen],
        )

    def features(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the frequencies and the brain thumbnail of each image, for the search of near copies."""
        for data in self.encoded:
            grey = np.asarray(read_image(data).image.convert("L"))
            yield low_frequencies(grey), brain_thumbnail(grey)


def ingest_set(source: str, folder: Path, *, ignore_folders: str = "", patient_pattern: str = "") -> ImageSet:
    """Ingest a source with class folders into a folder and read it.

    Raises:
        InputError: The source is invalid.
    """
    images_zip, manifest_csv = folder / "images.zip", folder / "manifest.csv"
    outputs = {"images_zip": images_zip, "manifest_csv": manifest_csv, "report_html": folder / "ingest.html"}
    ingest(source, ignore_folders=ignore_folders, patient_pattern=patient_pattern, **outputs)
    with manifest_csv.open(newline="", encoding="utf-8") as table:
        rows = sorted((row for row in csv.DictReader(table) if row["verdict"] == "kept"), key=lambda row: row["sha256"])
    with ImagesZip(images_zip) as images:
        classes = list(images.dataset["classes"])
        encoded = [images.read_bytes(row["sha256"]) for row in rows]
        masks = [images.read_mask(row["sha256"]) for row in rows]
    formats = sorted({row["format"] for row in rows})
    sides = np.array([[int(row["width"]), int(row["height"])] for row in rows], dtype=float)
    kinds = np.array([[row["format"] == name for name in formats] for row in rows], dtype=float)
    sizes = np.array([[len(data)] for data in encoded], dtype=float)
    return ImageSet(
        name=source.rstrip("/").rsplit("/", 1)[-1] or source,
        classes=classes,
        encoded=encoded,
        sha256=[row["sha256"] for row in rows],
        labels=np.array([classes.index(row["label"]) for row in rows]),
        groups=np.array([int(row["group"]) for row in rows]),
        geometry=np.hstack([sides, sides[:, :1] / sides[:, 1:], sizes, kinds]),
        masks=masks,
    )


def read_external(source: str, classes: Sequence[str], *, ignore_folders: str = "") -> ImageSet:
    """Read an external set: a source with class folders, or a folder of `images/` and `masks/`, which is a set of tumours.

    With two classes, every subtype counts as a tumour.

    Raises:
        InputError: The source is invalid, or it has classes that the model does not have.
    """
    folder = Path(source)
    if (folder / IMAGES_FOLDER).is_dir() and (folder / MASKS_FOLDER).is_dir():
        return _read_masked_tumors(folder, list(classes))
    with tempfile.TemporaryDirectory() as scratch:
        found = ingest_set(source, Path(scratch), ignore_folders=ignore_folders)
    if list(classes) == found.classes:
        return found
    if list(classes) != [NO_TUMOR, TUMOR]:
        raise InputError(f"{source}: got the classes {', '.join(found.classes)}, expected {', '.join(classes)}")
    is_tumor = np.array([name != NO_TUMOR for name in found.classes])
    return dataclasses.replace(found, classes=list(classes), labels=is_tumor[found.labels].astype(int))


def is_copy(images: ImageSet, known: ImageSet) -> np.ndarray:
    """Return whether each image is an exact or a near copy of one of the known images, bool [n]."""
    frequencies, thumbnails = zip(*known.features(), *images.features(), strict=True)
    groups = find_near_copies(np.array(frequencies), np.array(thumbnails), [""] * len(thumbnails)).groups
    return np.isin(groups[len(known) :], groups[: len(known)])


def _read_masked_tumors(folder: Path, classes: list[str]) -> ImageSet:
    if TUMOR not in classes:
        raise InputError(f"{folder}: got images with masks and without classes, expected classes {', '.join(classes)}")
    files = sorted(file for file in (folder / IMAGES_FOLDER).iterdir() if file.is_file() and not is_hidden(file.name))
    masks = {mask_key(PurePosixPath(file.name)): file for file in sorted((folder / MASKS_FOLDER).iterdir())}
    images, lesions = [], []
    for number, file in enumerate(files, start=1):
        try:
            image = read_image(file.read_bytes())
            mask = find_mask(masks, PurePosixPath(file.name))
            png = read_mask(mask, width_px=image.width_px, height_px=image.height_px) if mask else None
        except (ImageError, MaskError) as error:
            raise InputError(f"{folder}: image {number} of {len(files)}, or its mask, cannot be used: {error}") from error
        images.append(image.data)
        lesions.append(np.asarray(Image.open(io.BytesIO(png))) > 127 if png else None)
    return ImageSet(
        name=folder.name,
        classes=classes,
        encoded=images,
        sha256=[hashlib.sha256(data).hexdigest() for data in images],
        labels=np.full(len(files), classes.index(TUMOR)),
        groups=np.arange(len(files)),
        geometry=np.zeros((len(files), 0)),
        masks=lesions,
    )
