"""Ask an exported SavedModel about the held-out images, from disk, as a server would."""

from dataclasses import dataclass

import numpy as np

from brain_tumor.errors import InputError
from brain_tumor.images import read_image
from brain_tumor.model_card import ModelCard
from components.dataset import ImagesZip, Sample
from components.evaluate.predictions import Predictions
from components.saved_model import SavedModel

BATCH = 16


@dataclass(frozen=True)
class InferenceResults:
    """What the model answered for `n` images, and what was measured on them.

    Attributes:
        samples: the images.
        predictions: the model's answers beside the truth.
        heatmaps: one Grad-CAM map an image, float32 [h, w], 0-1.
        brightness: mean grey levels, float64 [n], 0-1.
        side_pixels: longest sides, int [n].
    """

    samples: list[Sample]
    predictions: Predictions
    heatmaps: list[np.ndarray]
    brightness: np.ndarray
    side_pixels: np.ndarray


def run_inference(
    model: SavedModel, archive: ImagesZip, samples: list[Sample], card: ModelCard, *, note: str = ""
) -> InferenceResults:
    """Ask about every sample, `BATCH` images at a time; only heatmaps and figures are kept.

    Raises:
        InputError: the archive lacks an image, or the model does not know a label.
    """
    classes = list(card.classes)
    unknown = sorted({sample.label for sample in samples} - set(classes))
    if unknown:
        raise InputError(f"splits.csv has the labels {unknown}, the model knows {classes}")
    probabilities, predicted, heatmaps, brightness, sides = [], [], [], [], []
    for start in range(0, len(samples), BATCH):
        images = [read_image(archive.read_bytes(sample.sha256)) for sample in samples[start : start + BATCH]]
        answers = model.run_signature("explain", [image.data for image in images])
        probabilities += list(_by_class(answers["probability"]))
        predicted += [classes.index(label) for label in answers["label"]]
        heatmaps += list(answers["heatmap"])
        brightness += [image.brightness for image in images]
        sides += [max(image.width_px, image.height_px) for image in images]
        print(f"evaluate: {len(predicted)} of {len(samples)} held-out images{note}", flush=True)
    predictions = Predictions(
        classes=classes,
        tumor_classes=list(card.tumor_classes),
        labels=np.array([classes.index(sample.label) for sample in samples], dtype=int),
        predicted=np.array(predicted, dtype=int),
        probabilities=np.array(probabilities).reshape(-1, len(classes)),
        groups=np.array([sample.group for sample in samples], dtype=int),
    )
    return InferenceResults(samples, predictions, heatmaps, np.array(brightness), np.array(sides, dtype=int))


def _by_class(probability: np.ndarray) -> np.ndarray:
    """Give a single column, float32 [n, 1], its complement: float64 [n, c]."""
    columns = probability.astype(np.float64)
    return np.hstack([1 - columns, columns]) if columns.shape[1] == 1 else columns
