"""One request on its way through the transformer."""

from dataclasses import dataclass

import numpy as np
from kserve import InferRequest


@dataclass(frozen=True)
class Prepared:
    """A picture that was decoded in full.

    Attributes:
        data: encoded bytes that the model's graph decodes.
        scaled: at the overlay's size, uint8 [h, w, 3], 0-255; None where no overlay is wanted.
        brightness: the mean grey level, 0-1.
        side_px: the longest side.
    """

    data: bytes
    scaled: np.ndarray | None
    brightness: float
    side_px: int


@dataclass(frozen=True)
class Answer:
    """What the model says of one picture.

    Attributes:
        probability: a column a class, or one of a tumour.
        confidence: the probability of `label`.
        warnings: keys of `WARNINGS`.
        heatmap: Grad-CAM for `label`, [h][w] in 0-1; None where not asked for.
        overlay: PNG; None where not asked for.
    """

    label: str
    probability: list[float]
    confidence: float
    warnings: list[str]
    heatmap: list[list[float]] | None = None
    overlay: bytes | None = None


@dataclass(frozen=True)
class Call:
    """What a client asks, and what is known of it so far.

    Attributes:
        encoded: the pictures as they came.
        explain: whether heatmap and overlay are wanted.
        where: what the client calls the list of pictures, for error messages; empty where it sent a single one.
        request: the V2 request that it came as; None for the other protocols.
    """

    encoded: list[bytes]
    explain: bool = False
    where: str = ""
    request: InferRequest | None = None
    pictures: tuple[Prepared, ...] = ()
    answers: tuple[Answer, ...] = ()

    def place(self, index: int) -> str:
        """Return what an error message begins with."""
        return f"{self.where}[{index}]: " if self.where else ""


NOTICE = "Assists a reader and does not replace one. Not for diagnosis."
WARNINGS = {
    "synthetic_model": "the model was trained on drawn phantoms: what it says of a patient's picture means nothing",
    "unlike_training": "the picture does not look like a brain MRI slice",
}
