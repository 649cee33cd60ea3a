"""The preprocess output: records of encoded images, and batches of augmented images and labels.

Only the seed and the epoch determine the order of the batches.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brain_tumor.container import usable_memory_bytes
from brain_tumor.errors import InputError
from components.augmentation import augment, augmentation_ranges
from components.decode import decode_batch
from components.hyperparameters import TrainConfig

if TYPE_CHECKING:
    import tensorflow as tf

SHUFFLE_BUFFER = 4096
MAX_CACHE_FRACTION = 0.25
TRAINING_SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Record:
    """One image of the shards, with the index of its class and the number of its group of near copies."""

    sha256: str
    label: int
    group: int
    image_bytes: bytes


@dataclass(frozen=True)
class Shards:
    """The preprocess output: a folder of TFRecord shards and its dataset.json."""

    folder: Path
    description: dict[str, Any]

    @property
    def classes(self) -> list[str]:
        return list(self.description["classes"])

    def files(self, split: str) -> list[str]:
        return sorted(str(path) for path in self.folder.glob(f"{split}-*.tfrecord"))

    def identity(self, config: TrainConfig) -> str:
        """Return what a checkpoint belongs to: the images, their split and the hyper-parameters."""
        return f"{self.description['fingerprint']} {self.description['split_fingerprint']} {config!r}"

    def count(self, split: str) -> int:
        return sum(self.description["counts"][split].values())


def open_shards(folder: Path) -> Shards:
    """Open the preprocess output.

    Raises:
        InputError: The folder has no dataset.json, or a split has no shard.
    """
    description = folder / "dataset.json"
    if not description.is_file():
        raise InputError(f"{folder}: got no dataset.json, expected the preprocess output")
    shards = Shards(folder, json.loads(description.read_text()))
    for split in TRAINING_SPLITS:
        if not shards.files(split):
            raise InputError(f"{folder}: got no {split}-*.tfrecord, expected the preprocess output")
    return shards


def read_records(shards: Shards, *splits: str) -> Iterator[Record]:
    """Yield every image of some splits, in the order of the shards."""
    import tensorflow as tf

    kinds = {"sha256": tf.string, "label": tf.int64, "group": tf.int64, "image_bytes": tf.string}
    features = {name: tf.io.FixedLenFeature([], kind) for name, kind in kinds.items()}
    files = [file for split in splits for file in shards.files(split)]
    for row in tf.data.TFRecordDataset(files).map(lambda each: tf.io.parse_single_example(each, features)).as_numpy_iterator():
        yield Record(row["sha256"].decode(), int(row["label"]), int(row["group"]), row["image_bytes"])


def training_batches(shards: Shards, config: TrainConfig, first_epoch: int = 0) -> "tf.data.Dataset":
    """Return the batches of all epochs from `first_epoch` on, one epoch after the other.

    Order and augmentation of an epoch depend only on the seed and the epoch's number. A resumed training therefore gets the
    same batches as an uninterrupted one.

    Returns:
        Dataset of (float32 [n, size, size, 3] in 0-1, float32 [n, 1] or one-hot [n, classes]).
    """
    import tensorflow as tf

    done = first_epoch * steps_per_epoch(shards, config)
    records = tf.data.TFRecordDataset(shards.files("train"))
    ranges = augmentation_ranges(config)  # not in `prepare`: AutoGraph warns that it cannot convert pydantic
    decode_once = fits_in_memory(shards, config, "train")
    if decode_once:
        records = decoded_once(records, shards, config)

    def prepare(step: "tf.Tensor", *batch: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        pixels, labels = batch[0] if decode_once else _parse(batch[0], shards, config)
        seed = tf.stack([tf.cast(config.seed, tf.int64), step])
        return augment(pixels, **ranges, seed=seed), labels

    batches = records.shuffle(SHUFFLE_BUFFER, seed=config.seed).batch(config.batch_size).repeat().skip(done).enumerate(start=done)
    return batches.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def fits_in_memory(shards: Shards, config: TrainConfig, split: str) -> bool:
    """Return whether the decoded images of a split take at most a quarter of the memory that this process may use."""
    image_bytes = config.image_size_px**2 * 3 * np.dtype(np.float32).itemsize
    return shards.count(split) * image_bytes <= MAX_CACHE_FRACTION * usable_memory_bytes()


def decoded_once(records: "tf.data.Dataset", shards: Shards, config: TrainConfig) -> "tf.data.Dataset":
    """Return the pixels and label of each record, which are decoded in parallel and stay in memory."""
    import tensorflow as tf

    def decode(record: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        pixels, labels = _parse(record[None], shards, config)
        return pixels[0], labels[0]

    return records.map(decode, num_parallel_calls=tf.data.AUTOTUNE).cache()


def unaugmented_batches(shards: Shards, config: TrainConfig, split: str) -> "tf.data.Dataset":
    """Return a split once, in the order of the shards, with the shapes of `training_batches`."""
    import tensorflow as tf

    batches = tf.data.TFRecordDataset(shards.files(split)).batch(config.batch_size)
    # Without the number of batches Keras warns that the data runs out.
    batches = batches.apply(tf.data.experimental.assert_cardinality(math.ceil(shards.count(split) / config.batch_size)))
    return batches.map(lambda batch: _parse(batch, shards, config), num_parallel_calls=tf.data.AUTOTUNE)


def steps_per_epoch(shards: Shards, config: TrainConfig) -> int:
    """Return the number of batches per epoch; the last may be smaller."""
    return math.ceil(shards.count("train") / config.batch_size)


def _parse(records: "tf.Tensor", shards: Shards, config: TrainConfig) -> tuple["tf.Tensor", "tf.Tensor"]:
    import tensorflow as tf

    features = {"image_bytes": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    examples = tf.io.parse_example(records, features)
    classes = len(shards.classes)
    labels = tf.cast(examples["label"], tf.float32)[:, None] if classes == 2 else tf.one_hot(examples["label"], classes)
    pixels, _ = decode_batch(examples["image_bytes"], config.image_size_px)
    return pixels, labels
