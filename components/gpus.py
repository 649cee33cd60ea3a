"""The GPUs of this machine: how many, and a training on all of them in mixed precision."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def count_gpus() -> int:
    """Return the number of GPUs that TensorFlow finds."""
    import tensorflow as tf

    return len(tf.config.list_logical_devices("GPU"))


def devices() -> str:
    """Return what a training runs on, for its first line."""
    return f"on {gpus} GPU in mixed precision" if (gpus := count_gpus()) else "on CPU"


def strategy() -> "tf.distribute.Strategy":
    """Return the strategy that spreads each batch over all GPUs."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy() if count_gpus() > 1 else tf.distribute.get_strategy()


def policy() -> str:
    """Return the precision of a training: float16 where a GPU has fast units for it."""
    return "mixed_float16" if count_gpus() else "float32"


@contextlib.contextmanager
def mixed_precision() -> Iterator[None]:
    """Build layers in the precision of `policy`."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy())
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
