"""What a model answered, beside the truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Predictions:
    """What a model answered for `n` images, and the truth.

    Attributes:
        classes: the `c` names in class order.
        tumor_classes: those of them that are a tumour.
        labels: the true class, int [n], 0 to c - 1.
        called: the class the model named, int [n], 0 to c - 1.
        probabilities: float64 [n, c], rows sum to 1.
        groups: near copies share a number, int [n].
    """

    classes: Sequence[str]
    tumor_classes: Sequence[str]
    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    groups: np.ndarray

    @property
    def is_binary(self) -> bool:
        return len(self.classes) == 2

    @property
    def confidences(self) -> np.ndarray:
        """The probability of the class that was called, float64 [n]."""
        return self.probabilities[np.arange(len(self.predicted)), self.predicted]

    @property
    def is_correct(self) -> np.ndarray:
        return self.predicted == self.labels

    def is_tumor(self, indices: np.ndarray) -> np.ndarray:
        """Whether each class number, int [n], is that of a tumour: bool [n]."""
        return np.isin(indices, [i for i, name in enumerate(self.classes) if name in self.tumor_classes])
