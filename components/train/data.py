"""Batches of augmented images and labels from the shards. Only the seed and the epoch determine their order."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain_tumor.errors import InputError
from components.hyperparameters import TrainConfig
from components.train.decode import decode_batch

if TYPE_CHECKING:
    import tensorflow as tf

SHUFFLE_BUFFER = 4096


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
    for split in ("train", "validation"):
        if not shards.files(split):
            raise InputError(f"{folder}: got no {split}-*.tfrecord, expected the preprocess output")
    return shards


def read_hashes(shards: Shards) -> list[str]:
    """Return the sorted SHA-256 of every image of the splits train and validation."""
    import tensorflow as tf

    records = tf.data.TFRecordDataset(shards.files("train") + shards.files("validation"))
    hashes = records.map(lambda record: tf.io.parse_single_example(record, {"sha256": tf.io.FixedLenFeature([], tf.string)}))
    return sorted(row["sha256"].decode() for row in hashes.as_numpy_iterator())


def training_batches(shards: Shards, config: TrainConfig, first_epoch: int = 0) -> "tf.data.Dataset":
    """Return the batches of all epochs from `first_epoch` on, one epoch after the other.

    Order and augmentation of an epoch depend only on the seed and the epoch's number. A resumed training therefore gets the
    same batches as an uninterrupted one.

    Returns:
        Dataset of (float32 [n, size, size, 3] in 0-1, float32 [n, 1] or one-hot [n, classes]).
    """
    import tensorflow as tf

    done = first_epoch * steps_per_epoch(shards, config)
    records = tf.data.TFRecordDataset(shards.files("train")).shuffle(SHUFFLE_BUFFER, seed=config.seed)

    def prepare(step: "tf.Tensor", batch: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        pixels, labels = _parse(batch, shards, config)
        return augment(pixels, config, seed=tf.stack([tf.cast(config.seed, tf.int64), step])), labels

    batches = records.batch(config.batch_size).repeat().skip(done).enumerate(start=done)
    return batches.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def validation_batches(shards: Shards, config: TrainConfig) -> "tf.data.Dataset":
    """Return the validation split once, in the order of the shards, with the shapes of `training_batches`."""
    import tensorflow as tf

    batches = tf.data.TFRecordDataset(shards.files("validation")).batch(config.batch_size)
    # Without the number of batches Keras warns that the data runs out.
    batches = batches.apply(tf.data.experimental.assert_cardinality(math.ceil(shards.count("validation") / config.batch_size)))
    return batches.map(lambda batch: _parse(batch, shards, config), num_parallel_calls=tf.data.AUTOTUNE)


def steps_per_epoch(shards: Shards, config: TrainConfig) -> int:
    """Return the number of batches per epoch; the last may be smaller."""
    return math.ceil(shards.count("train") / config.batch_size)


def augment(pixels: "tf.Tensor", config: TrainConfig, *, seed: "tf.Tensor") -> "tf.Tensor":
    """Rotate, mirror, zoom and shear each image by its own random values, in one resampling.

    Args:
        pixels: Images, float32 [n, size, size, 3], 0-1.
        config: Ranges of the random values.
        seed: Random seed, int64 [2]; the same seed gives the same images.

    Returns:
        float32 [n, size, size, 3], 0-1; areas from outside the image are black.
    """
    import tensorflow as tf

    count = tf.shape(pixels)[0]
    uniform = tf.random.stateless_uniform([5, count], seed, -1.0, 1.0)
    angle = uniform[0] * math.radians(config.rotation_deg)
    shear = uniform[1] * math.radians(config.shear_deg)
    zoom_x, zoom_y = 1 + uniform[2] * config.zoom, 1 + uniform[3] * config.zoom
    mirror = tf.sign(uniform[4] + 1e-9) if config.horizontal_flip else tf.ones([count])

    # Output to input coordinates about the centre: rotation after shear after zoom after mirror.
    a, b = mirror * zoom_x * tf.cos(angle), -zoom_y * tf.sin(angle + shear)
    c, d = mirror * zoom_x * tf.sin(angle), zoom_y * tf.cos(angle + shear)
    centre = (config.image_size_px - 1) / 2
    shift_x, shift_y = centre - (a + b) * centre, centre - (c + d) * centre
    zeros = tf.zeros([count])
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels,
        transforms=tf.stack([a, b, shift_x, c, d, shift_y, zeros, zeros], axis=1),
        output_shape=tf.shape(pixels)[1:3],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )
    return tf.ensure_shape(moved, pixels.shape)


def _parse(records: "tf.Tensor", shards: Shards, config: TrainConfig) -> tuple["tf.Tensor", "tf.Tensor"]:
    import tensorflow as tf

    features = {"image_bytes": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    examples = tf.io.parse_example(records, features)
    classes = len(shards.classes)
    labels = tf.cast(examples["label"], tf.float32)[:, None] if classes == 2 else tf.one_hot(examples["label"], classes)
    return decode_batch(examples["image_bytes"], config.image_size_px), labels
