"""A SavedModel, loaded from disk."""

import os
import sys
from pathlib import Path

import numpy as np

from brain_tumor.errors import InputError


class SavedModel:
    """A SavedModel loaded from disk and asked as a server asks it.

    Raises:
        InputError: there is none in the folder, it does not load, or it cannot explain.
    """

    def __init__(self, folder: Path):
        import_tensorflow_quietly()
        import tensorflow as tf

        try:
            self._loaded = tf.saved_model.load(str(folder))  # kept: it keeps the weights alive
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} holds no SavedModel that loads: {str(error).splitlines()[0]}") from error
        self.signatures = self._loaded.signatures

    def run_signature(self, signature: str, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """Send encoded images through a signature and return its outputs; `label` as an array of str.

        Raises:
            InputError: the model has no such signature.
        """
        import tensorflow as tf

        if signature not in self.signatures:
            raise InputError(f"the SavedModel has no signature `{signature}`, only {sorted(self.signatures)}")
        answer = self.signatures[signature](image_bytes=tf.constant(encoded, tf.string))
        return {name: value.numpy().astype(str) if name == "label" else value.numpy() for name, value in answer.items()}


def import_tensorflow_quietly() -> None:
    """Import TensorFlow and keep what it writes to stderr meanwhile from the reader; no setting of its own does."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # for what it says later
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow as tf

        tf.config.list_logical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
