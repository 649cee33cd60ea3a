"""Run an exported SavedModel on images, with the signature that serves them."""

import math
import tempfile
import weakref
from dataclasses import dataclass

import numpy as np

from brain_tumor.errors import InputError
from brain_tumor.images import read_image
from brain_tumor.model_card import MIN_IN_DISTRIBUTION, ModelCard
from components.dataset import ImagesZip, Sample
from components.evaluate.predictions import Predictions
from components.saved_model import SavedModel

BATCH_SIZE = 16


class StoredHeatmaps:
    """Heatmaps of one size, float32 [h, w], in a temporary file: those of many images may take more memory than there is."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="heatmaps-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def extend(self, heatmaps: np.ndarray) -> None:
        """Add heatmaps, float32 [n, h, w]."""
        self._count, self._shape = self._count + len(heatmaps), heatmaps.shape[1:]
        self._file.write(heatmaps.astype(np.float32).tobytes())

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self._count:
            raise IndexError(f"heatmap {index} of {self._count}")
        size = 4 * math.prod(self._shape)
        self._file.seek(index * size)
        return np.frombuffer(self._file.read(size), np.float32).reshape(self._shape)


@dataclass(frozen=True)
class InferenceResults:
    """Outputs of a model for `n` images, and properties of the images.

    Attributes:
        samples: The images' rows of splits.csv.
        predictions: Predicted and true classes.
        heatmaps: One heatmap for each image, float32 [h, w], 0-1.
        in_distribution: How like the training images each image is, float [n], 0-1; 1 from a model without this output.
        uncertain: Whether the conformal set is not the predicted class alone, bool [n]; False from a model without this output.
        brightness: Mean grey levels, float64 [n], 0-1.
        side_pixels: Longest sides, int [n].
    """

    samples: list[Sample]
    predictions: Predictions
    heatmaps: StoredHeatmaps
    in_distribution: np.ndarray
    uncertain: np.ndarray
    brightness: np.ndarray
    side_pixels: np.ndarray

    @property
    def unlike_training(self) -> np.ndarray:
        """Whether each image is unlike the training images, bool [n]."""
        return self.in_distribution < MIN_IN_DISTRIBUTION


def run_inference(
    model: SavedModel, archive: ImagesZip, samples: list[Sample], card: ModelCard, *, note: str = ""
) -> InferenceResults:
    """Run the `explain` signature on every sample in batches, so that only `BATCH_SIZE` images and heatmaps are in memory.

    Args:
        model: The model.
        archive: The images.
        samples: The images to predict.
        card: The model's model card.
        note: End of the progress lines.

    Raises:
        InputError: The archive lacks an image, or a label is not a class of the model.
    """
    classes = list(card.classes)
    unknown = sorted({sample.label for sample in samples} - set(classes))
    if unknown:
        raise InputError(f"splits.csv: got the labels {unknown}, expected the model's classes {classes}")
    probabilities, predicted_labels, in_distribution, uncertain, brightness, sides = [], [], [], [], [], []
    heatmaps = StoredHeatmaps()
    for start in range(0, len(samples), BATCH_SIZE):
        images = [read_image(archive.read_bytes(sample.sha256)) for sample in samples[start : start + BATCH_SIZE]]
        outputs = model.run_signature("explain", [image.data for image in images])
        probabilities += list(_class_probabilities(outputs["probability"]))
        predicted_labels += [classes.index(label) for label in outputs["label"]]
        heatmaps.extend(outputs["heatmap"])
        in_distribution += list(outputs.get("in_distribution", np.ones(len(images))))
        uncertain += list(outputs.get("uncertain", np.zeros(len(images), bool)))
        brightness += [image.brightness for image in images]
        sides += [max(image.width_px, image.height_px) for image in images]
        print(f"evaluate: {len(heatmaps)} of {len(samples)} held-out images{note}", flush=True)
    predictions = Predictions(
        classes=classes,
        tumor_classes=list(card.tumor_classes),
        labels=np.array([classes.index(sample.label) for sample in samples], dtype=int),
        predicted_labels=np.array(predicted_labels, dtype=int),
        probabilities=np.array(probabilities).reshape(-1, len(classes)),
        groups=np.array([sample.group for sample in samples], dtype=int),
    )
    return InferenceResults(
        samples,
        predictions,
        heatmaps,
        in_distribution=np.array(in_distribution, dtype=float),
        uncertain=np.array(uncertain, dtype=bool),
        brightness=np.array(brightness),
        side_pixels=np.array(sides, dtype=int),
    )


def _class_probabilities(probability: np.ndarray) -> np.ndarray:
    """Return one column for each class, float64 [n, c]; a single column, float32 [n, 1], gets its complement."""
    columns = probability.astype(np.float64)
    return np.hstack([1 - columns, columns]) if columns.shape[1] == 1 else columns
