"""Select the cases that the report shows, and draw their heatmaps and lesions."""

from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from PIL import Image

from brain_tumor.images import read_image
from brain_tumor.overlay import outline, render_overlay, scale_image
from components.dataset import ImagesZip
from components.evaluate.pointing import peak_in_mask
from components.evaluate.predict import InferenceResults
from components.evaluate.predictions import Predictions
from components.report import png_uri

SIDE_PX = 288
MISCLASSIFIED_CASES = 6
BORDERLINE_CASES = 3
CORRECT_CASES = 6
LESION_RGB = (0, 229, 255)


@dataclass(frozen=True)
class Case:
    """One image of the gallery.

    Attributes:
        image: `data:` URI of the image, with the lesion's outline if it is known.
        overlay: The same with the heatmap.
        label: The true class.
        predicted_label: The predicted class.
        probability: Probability of the second of two classes; with more classes, of the predicted class.
        peak_in_lesion: Whether the heatmap's peak lies in the lesion; None without a known lesion.
        has_heatmap: False if the heatmap is 0 everywhere.
        uncertain: Whether the model marks the prediction as uncertain.
        unlike_training: Whether the model marks the image as unlike its training images.
    """

    image: str
    overlay: str
    label: str
    predicted_label: str
    probability: float
    peak_in_lesion: bool | None
    has_heatmap: bool
    uncertain: bool
    unlike_training: bool

    @property
    def is_correct(self) -> bool:
        return self.predicted_label == self.label


def select_cases(predictions: Predictions, threshold: float | None) -> dict[str, list[int]]:
    """Select the most confident misclassified, the borderline and the most confident correct images, none twice.

    Borderline is nearest to the threshold; above two classes, the smallest difference between the two most probable classes.
    The correct ones alternate between the classes, so that one class does not fill the row.
    """
    most_confident = np.argsort(-predictions.confidences, kind="stable").tolist()
    most_borderline = np.argsort(_margins(predictions, threshold), kind="stable").tolist()
    is_correct = predictions.is_correct
    misclassified = [i for i in most_confident if not is_correct[i]][:MISCLASSIFIED_CASES]
    borderline = [i for i in most_borderline if i not in misclassified][:BORDERLINE_CASES]
    correct = [i for i in most_confident if is_correct[i] and i not in borderline]
    by_class = [[i for i in correct if predictions.labels[i] == label] for label in range(len(predictions.classes))]
    alternating = [i for row in zip_longest(*by_class) for i in row if i is not None]
    return {"misclassified": misclassified, "borderline": borderline, "correct": alternating[:CORRECT_CASES]}


def render_case(index: int, results: InferenceResults, archive: ImagesZip) -> Case:
    """Render one held-out image for the gallery."""
    sample, predictions, heatmap = results.samples[index], results.predictions, results.heatmaps[index]
    image, mask = read_image(archive.read_bytes(sample.sha256)), archive.read_mask(sample.sha256)
    predicted_label = predictions.predicted_labels[index]
    return Case(
        image=png_uri(_outline_lesion(np.asarray(scale_image(image.image, SIDE_PX)), mask)),
        overlay=png_uri(_outline_lesion(render_overlay(image.pixels, heatmap, max_side_px=SIDE_PX), mask)),
        label=sample.label,
        predicted_label=predictions.classes[predicted_label],
        probability=float(predictions.probabilities[index, 1 if predictions.is_binary else predicted_label]),
        peak_in_lesion=None if mask is None else peak_in_mask(heatmap, mask),
        has_heatmap=bool(heatmap.any()),
        uncertain=bool(results.uncertain[index]),
        unlike_training=bool(results.unlike_training[index]),
    )


def render_colour_bar() -> str:
    """Return a `data:` URI of the heatmap's colours from 0 to 1, on black, grey and white, with the line at half."""
    ramp = np.tile(np.linspace(0, 1, 320, dtype=np.float32), (24, 1))
    ground = np.repeat(np.repeat(np.array([[0], [110], [230]], np.uint8), 8, axis=0)[..., None], 3, axis=2)
    return png_uri(render_overlay(np.ascontiguousarray(np.tile(ground, (1, 320, 1))), ramp))


def _margins(predictions: Predictions, threshold: float | None) -> np.ndarray:
    """Return how far each prediction is from another class, float [n]."""
    if threshold is not None:
        return np.abs(predictions.probabilities[:, 1] - threshold)
    ordered = np.sort(predictions.probabilities, axis=1)
    return ordered[:, -1] - ordered[:, -2]


def _outline_lesion(pixels: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Outline a lesion, bool [height, width] at the image's original size, on uint8 [h, w, 3]."""
    if mask is None:
        return pixels
    outlined = pixels.copy()
    scaled = scale_image(Image.fromarray(mask.astype(np.uint8) * 255), max(pixels.shape))
    outlined[outline(np.asarray(scaled)[..., 0] > 127)] = LESION_RGB
    return outlined
