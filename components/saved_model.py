"""A model loaded from its folder and asked as a server asks it."""

from pathlib import Path

import numpy as np

from components.errors import InputError


class SavedModel:
    """A SavedModel on disk.

    Raises:
        InputError: there is none in the folder, or it does not load.
    """

    def __init__(self, folder: Path):
        import tensorflow as tf

        try:
            loaded = tf.saved_model.load(str(folder))
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} holds no SavedModel that loads: {str(error).splitlines()[0]}") from error
        self._loaded = loaded  # keeps the weights alive
        self.signatures = loaded.signatures

    def ask(self, signature: str, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """Send encoded pictures through a signature and return its outputs; `label` as an array of str."""
        import tensorflow as tf

        answer = self.signatures[signature](image_bytes=tf.constant(encoded, tf.string))
        return {name: value.numpy().astype(str) if name == "label" else value.numpy() for name, value in answer.items()}
