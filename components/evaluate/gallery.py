"""Choose the cases that the report shows, and lay each one's heatmap over it."""

from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from brain_tumor.images import read_image
from brain_tumor.overlay import outline, render_overlay, scale_image
from components.dataset import ImagesZip
from components.evaluate.pointing import peak_in_mask
from components.evaluate.predict import InferenceResults
from components.evaluate.predictions import Predictions
from components.report import png_uri

SIDE_PX = 288
RIGHT_CASES = 6
WRONG_CASES = 6
CLOSE_CASES = 3
LESION_RGB = (0, 229, 255)


@dataclass(frozen=True)
class Case:
    """One image of the gallery.

    Attributes:
        image: `data:` address of the image, with the lesion's outline where it is known.
        overlay: the same with the heatmap.
        label: the true class.
        called: the class the model named.
        probability: of a tumour with two classes (of the second of them); above two, of the called class.
        peak_in_lesion: whether the heatmap's peak lies in the lesion; None where no lesion is known.
        has_heatmap: False where nothing contributed.
    """

    image: str
    overlay: str
    label: str
    predicted: str
    probability: float
    peak_in_lesion: bool | None
    has_heatmap: bool


def select_cases(predictions: Predictions, threshold: float | None) -> dict[str, list[int]]:
    """Choose images, no one twice: those called wrong most confidently, nearest to the threshold, right most confidently.

    Above two classes the nearest are those whose two likeliest classes lie closest together. The right ones are taken
    from the classes in turn, or one class would fill the row.
    """
    confidences, rights = predictions.confidences, predictions.is_correct
    surest = np.argsort(-confidences, kind="stable")
    wrong = [int(i) for i in surest if not rights[i]][:WRONG_CASES]
    close = [int(i) for i in np.argsort(_margins(predictions, threshold), kind="stable") if i not in wrong][:CLOSE_CASES]
    free = [int(i) for i in surest if rights[i] and i not in close]
    by_class = [[i for i in free if predictions.labels[i] == label] for label in range(len(predictions.classes))]
    in_turn = [i for row in zip_longest(*by_class) for i in row if i is not None]
    return {"wrong": wrong, "close": close, "right": in_turn[:RIGHT_CASES]}


def render_case(index: int, findings: InferenceResults, archive: ImagesZip) -> Case:
    """Make the gallery's entry of one held-out image."""
    sample, predictions, heatmap = findings.samples[index], findings.predictions, findings.heatmaps[index]
    pixels, mask = read_image(archive.read_bytes(sample.sha256)).pixels, archive.read_mask(sample.sha256)
    column = 1 if predictions.is_binary else predictions.predicted[index]
    return Case(
        image=png_uri(_with_lesion(scale_image(pixels, SIDE_PX), mask)),
        overlay=png_uri(_with_lesion(render_overlay(pixels, heatmap, max_side_px=SIDE_PX), mask)),
        label=sample.label,
        predicted=predictions.classes[predictions.predicted[index]],
        probability=float(predictions.probabilities[index, column]),
        peak_in_lesion=None if mask is None else peak_in_mask(heatmap, mask),
        has_heatmap=bool(heatmap.any()),
    )


def colour_bar() -> str:
    """Return a `data:` address of the heatmap's colours, 0 to 1, as they look on black, grey and white, with the line at half."""
    ramp = np.tile(np.linspace(0, 1, 320, dtype=np.float32), (24, 1))
    ground = np.repeat(np.repeat(np.array([[0], [110], [230]], np.uint8), 8, axis=0)[..., None], 3, axis=2)
    return png_uri(render_overlay(np.ascontiguousarray(np.tile(ground, (1, 320, 1))), ramp))


def _margins(predictions: Predictions, threshold: float | None) -> np.ndarray:
    if threshold is not None:
        return np.abs(predictions.probabilities[:, 1] - threshold)
    ordered = np.sort(predictions.probabilities, axis=1)
    return ordered[:, -1] - ordered[:, -2]


def _with_lesion(pixels: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Draw the outline of a lesion, bool [height, width] at the image's own size, on uint8 [h, w, 3]."""
    if mask is None:
        return pixels
    marked = pixels.copy()
    scaled = scale_image(np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2), max(pixels.shape))
    marked[outline(scaled[..., 0] > 127)] = LESION_RGB
    return marked
