"""The features of images and their augmented views on disk: a frozen network computes them once for all epochs and folds."""

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from components.errors import room_for
from components.shards import Record

if TYPE_CHECKING:
    import tensorflow as tf

# Images whose features are computed at a time.
BATCH_IMAGES = 4
READ_IMAGES = 64


class FeatureCache:
    """Feature maps of images in one file, float16 [image, view, cells, cells, channels], in the order of their computation.

    A second file lists the SHA-256 of the images; it is written after their features, so a killed computation resumes.

    Args:
        folder: Folder of the two files.
        shape: Shape of one image's features: views, cells, cells, channels.
        identity: What the features depend on besides the image. Another identity has other files.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int, int], identity: object):
        name = hashlib.sha256(json.dumps([shape, identity], sort_keys=True).encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        self.shape = shape
        self._features, self._images = folder / f"features-{name}.float16", folder / f"features-{name}.sha256"
        self._rows: dict[str, int] = {}
        self._read_rows()

    def add(self, records: Iterable[Record], compute: Callable[[Sequence[Record], int], "tf.Tensor"], *, total: int) -> None:
        """Compute the features of those images that have none.

        Args:
            records: The images.
            compute: Function from n images and the number of views to their features, [n, *shape].
            total: Number of images, for the progress lines.
        """
        with self._features.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # another training may be at it
            self._read_rows()
            file.truncate(len(self._rows) * self.row_bytes)
            batch: list[Record] = []
            for record in records:
                if record.sha256 not in self._rows:
                    batch.append(record)
                if len(batch) == BATCH_IMAGES:
                    self._append(file, batch, compute, total)
                    batch = []
            if batch:
                self._append(file, batch, compute, total)

    def read(self, sha256s: Sequence[str]) -> "CachedFeatures":
        """Return the features of some images."""
        features = np.memmap(self._features, np.float16, mode="r", shape=(len(self._rows), *self.shape))
        return CachedFeatures(features, np.array([self._rows[sha256] for sha256 in sha256s]))

    def _read_rows(self) -> None:
        if self._images.exists():
            complete = self._images.read_text().split("\n")[:-1]
            self._rows = {sha256: row for row, sha256 in enumerate(complete)}

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(np.float16).itemsize

    def _append(
        self, file: BinaryIO, batch: list[Record], compute: Callable[[Sequence[Record], int], "tf.Tensor"], total: int
    ) -> None:
        features = np.asarray(compute(batch, self.shape[0]), np.float16).tobytes()
        with room_for((total - len(self._rows)) * self.row_bytes, self._features.parent):
            file.write(features)
            file.flush()
            with self._images.open("a") as images:
                images.writelines(f"{record.sha256}\n" for record in batch)
        before = len(self._rows)
        self._rows |= {record.sha256: before + position for position, record in enumerate(batch)}
        if before * 10 // total < len(self._rows) * 10 // total:
            print(
                f"train: features of {len(self._rows)} of {total} images, {len(self._rows) * self.row_bytes / 1e6:.0f} MB",
                flush=True,
            )


class CachedFeatures:
    """The features of n images, float16 [n, views, cells, cells, channels], read from disk as they are asked for."""

    def __init__(self, features: np.ndarray, rows: np.ndarray):
        self._features = features
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def view_count(self) -> int:
        return int(self._features.shape[1])

    @property
    def channels(self) -> int:
        return int(self._features.shape[-1])

    def batches(self) -> Iterator[np.ndarray]:
        """Yield the numbers of all images, int [m] each, as many as are read at a time."""
        for start in range(0, len(self), READ_IMAGES):
            yield np.arange(start, min(start + READ_IMAGES, len(self)))

    def views(self, images: np.ndarray, views: np.ndarray | int) -> np.ndarray:
        """Return one view of each of m images, float32 [m, cells, cells, channels].

        Args:
            images: Numbers of the images, int [m].
            views: The view of each, int [m], or one for all.
        """
        return self._features[self._rows[images], views].astype(np.float32)
