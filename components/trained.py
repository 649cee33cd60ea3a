"""What the training of an architecture returns, and what its export needs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from components.in_distribution import InDistribution

# From a score to the index of the predicted class, int32 [N], and to the score at which another class would be predicted,
# float32 [N].
Decide = Callable[["tf.Tensor"], tuple["tf.Tensor", "tf.Tensor"]]
History = dict[str, list[float]]


class Network(ABC):
    """A trained network in float32. Pixels are float32 [N, size, size, 3], 0-1.

    Attributes:
        architecture: Name for model.json.
        explanation: Name of the method of `explain`: `grad_cam` or `evidence`.
        crops_brain: Whether the pixels are those of the brain crop, not of the whole image.
        image_size_px: Side of the pixels.
        parts: The Keras models with the weights.
        weights: Source of pretrained weights, for model.json; None without any.
    """

    architecture: str
    explanation: str
    crops_brain: bool
    image_size_px: int
    parts: Sequence["keras.Model"]
    weights: dict[str, str] | None = None

    @abstractmethod
    def score(self, pixels: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        """Return the score before the sigmoid or softmax, float32 [N, 1] or [N, classes], and pooled features, float32 [N, F]."""

    @abstractmethod
    def explain(self, pixels: "tf.Tensor", decide: Decide) -> tuple["tf.Tensor", "tf.Tensor", "tf.Tensor"]:
        """Return score and features as `score` does, and the heatmap of the predicted class, float32 [N, h, w], 0 or more."""

    @abstractmethod
    def reference_heatmap(self, pixels: "tf.Tensor", index: int, boundary: float) -> np.ndarray:
        """Compute the heatmap of one image, float32 [1, size, size, 3], a second way, to compare with the exported one.

        Returns:
            float32 [h, w], 0 or more.
        """


@dataclass(frozen=True)
class CalibrationSet:
    """Scores of images that the network, or one of its folds, was not trained on.

    Attributes:
        scores: float32 [n, 1] or [n, classes].
        labels: Indices of the true classes, int [n].
        description: Which images these are, for model.json.
    """

    scores: np.ndarray
    labels: np.ndarray
    description: str


@dataclass(frozen=True)
class Trained:
    """A trained network, the metrics of all epochs, its best epoch (from 0), and what its decisions are fitted on."""

    network: Network
    history: History
    best_epoch: int
    calibration: CalibrationSet
    in_distribution: "InDistribution"
