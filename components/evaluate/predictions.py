"""The true and the predicted classes of images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for `n` images, with the true classes.

    Attributes:
        classes: The `c` class names, in class order.
        tumor_classes: The class names that are a tumour.
        labels: True classes, int [n], 0 to c - 1.
        predicted_labels: Predicted classes, int [n], 0 to c - 1.
        probabilities: Class probabilities, float64 [n, c], rows sum to 1.
        groups: Group numbers, shared by near copies, int [n].
    """

    classes: Sequence[str]
    tumor_classes: Sequence[str]
    labels: np.ndarray
    predicted_labels: np.ndarray
    probabilities: np.ndarray
    groups: np.ndarray

    @property
    def is_binary(self) -> bool:
        return len(self.classes) == 2

    @property
    def confidences(self) -> np.ndarray:
        """Probabilities of the predicted classes, float64 [n]."""
        return self.probabilities[np.arange(len(self.predicted_labels)), self.predicted_labels]

    @property
    def is_correct(self) -> np.ndarray:
        return self.predicted_labels == self.labels

    def is_tumor(self, labels: np.ndarray) -> np.ndarray:
        """Return whether each class number, int [n], is a tumour class: bool [n]."""
        return np.isin(labels, [i for i, name in enumerate(self.classes) if name in self.tumor_classes])
