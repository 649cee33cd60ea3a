"""The dataset files that steps exchange: images.zip and splits.csv."""

import csv
import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import Image

from brain_tumor.errors import InputError
from components.files import atomic_write

SPLITS = ("train", "validation", "test")
HELD_OUT = "test"


@dataclass(frozen=True)
class Sample:
    """One row of splits.csv."""

    sha256: str
    group: int
    label: str
    split: str


def read_splits(path: Path) -> list[Sample]:
    """Read splits.csv.

    Raises:
        InputError: The file or a column is missing, or a group is not an integer.
    """
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            return [Sample(row["sha256"], int(row["group"]), row["label"], row["split"]) for row in csv.DictReader(lines)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: got {error!r}, expected a splits.csv with columns sha256, group, label, split") from error


def count_splits(samples: list[Sample]) -> dict[str, dict[str, int]]:
    """Return for each split the number of images of each label, and the totals `images` and `groups`."""
    counts: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        members = [sample for sample in samples if sample.split == split]
        labels = [sample.label for sample in members]
        counts[split] = {label: labels.count(label) for label in sorted({sample.label for sample in samples})}
        counts[split] |= {"images": len(members), "groups": len({sample.group for sample in members})}
    return counts


def write_splits(path: Path, samples: Iterable[Sample]) -> None:
    """Write splits.csv, sorted by sha256."""
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["sha256", "group", "label", "split"])
        writer.writerows(sorted((sample.sha256, sample.group, sample.label, sample.split) for sample in samples))


class ImagesZip:
    """Reader of images.zip, a context manager.

    Attributes:
        dataset: The content of dataset.json.

    Raises:
        InputError: The file is missing or not an images.zip.
    """

    def __init__(self, path: Path):
        try:
            self._zip = zipfile.ZipFile(path)
            self.dataset: dict[str, Any] = json.loads(self._zip.read("dataset.json"))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: got {error!r}, expected an images.zip with a dataset.json") from error
        members = [PurePosixPath(name) for name in self._zip.namelist()]
        self._names = {member.stem: str(member) for member in members if member.parent.name == "images"}
        self._masks = {member.stem: str(member) for member in members if member.parent.name == "masks"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._zip.close()

    def size(self, sha256: str) -> int:
        """Return the size of an encoded image in bytes; 0 if the archive does not contain it."""
        return self._zip.getinfo(self._names[sha256]).file_size if sha256 in self._names else 0

    def read_bytes(self, sha256: str) -> bytes:
        """Return an encoded image.

        Raises:
            InputError: The archive does not contain the image.
        """
        if sha256 not in self._names:
            raise InputError(f"images.zip: no image {sha256}, which splits.csv lists; use both files of one run")
        return self._zip.read(self._names[sha256])

    def has_mask(self, sha256: str) -> bool:
        """Return whether the image has a lesion mask."""
        return sha256 in self._masks

    def read_mask(self, sha256: str) -> np.ndarray | None:
        """Return the lesion mask, bool [height, width], or None if the image has none."""
        if sha256 not in self._masks:
            return None
        with Image.open(io.BytesIO(self._zip.read(self._masks[sha256]))) as mask:
            return np.asarray(mask.convert("L")) > 127
