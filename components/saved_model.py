"""Load a SavedModel from disk and run its signatures."""

import contextlib
import os
import re
import sys
from pathlib import Path

import numpy as np

from brain_tumor.errors import InputError


class SavedModel:
    """A SavedModel loaded from disk, run through its signatures as a model server runs it.

    Raises:
        InputError: The folder contains no SavedModel, or loading it fails.
    """

    def __init__(self, folder: Path):
        import_tensorflow_quietly()
        import tensorflow as tf

        try:
            with contextlib.chdir(folder):  # TensorFlow takes [ and \ of a path for a pattern
                self._loaded = tf.saved_model.load(".")  # keeps the weights alive
        except Exception as error:  # of any kind, for a damaged file
            raise InputError(f"{folder}: cannot load a SavedModel, {_damaged_part(folder)}: {_first_line(error)}") from error
        self.signatures = self._loaded.signatures

    def run_signature(self, signature: str, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """Run a signature on encoded images and return its outputs by name, `label` as an array of str.

        Raises:
            InputError: The model has no such signature, or its graph fails.
        """
        import tensorflow as tf

        if signature not in self.signatures:
            raise InputError(f"SavedModel: got signatures {sorted(self.signatures)}, expected `{signature}`")
        try:
            outputs = self.signatures[signature](image_bytes=tf.constant(encoded, tf.string))
        except tf.errors.OpError as error:
            raise InputError(f"SavedModel: `{signature}` failed: {_first_line(error)}") from error
        return {name: value.numpy().astype(str) if name == "label" else value.numpy() for name, value in outputs.items()}


def _damaged_part(folder: Path) -> str:
    """Return which file is missing or damaged in a SavedModel that TensorFlow does not load."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel as Document

    try:
        is_parsed = bool(Document.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs)
    except (OSError, DecodeError):
        is_parsed = False
    return "a file in variables/ or the graph in saved_model.pb is damaged" if is_parsed else "saved_model.pb is damaged"


def _first_line(error: Exception) -> str:
    """Return the first line of TensorFlow's message, without the node that it may begin with."""
    return re.sub(r"^\{\{.*?\}\} ", "", (str(error).splitlines() or [type(error).__name__])[0])


def import_tensorflow_quietly() -> None:
    """Import TensorFlow without the messages that it writes to stderr; none of its settings turns them off.

    Keras takes half of the time of the import. A module that needs it imports it by name.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # for its later messages
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # or TensorFlow imports Keras 3; Keras 2 is not installed
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        import tensorflow as tf

        tf.config.list_logical_devices()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
