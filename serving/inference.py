"""One request on its way through the transformer."""

from dataclasses import dataclass

import numpy as np
from kserve import InferRequest


@dataclass(frozen=True)
class PreparedImage:
    """An image that was decoded in full.

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
class ImageResult:
    """What the model says of one image.

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
class ImageRequest:
    """What a client asks, and what is known of it so far.

    Attributes:
        encoded: the images as they came.
        explain: whether heatmap and overlay are wanted.
        list_name: what the client calls the list of images, for error messages; empty where it sent a single one.
        v2_request: the V2 request that it came as; None for the other protocols.
    """

    encoded: list[bytes]
    explain: bool = False
    list_name: str = ""
    v2_request: InferRequest | None = None
    images: tuple[PreparedImage, ...] = ()
    results: tuple[ImageResult, ...] = ()

    def error_prefix(self, index: int) -> str:
        """Return what an error message begins with."""
        return f"{self.list_name}[{index}]: " if self.list_name else ""


NOTICE = "Assists a reader and does not replace one. Not for diagnosis."
WARNINGS = {
    "synthetic_model": "the model was trained on drawn phantoms: what it says of a patient's image means nothing",
    "unlike_training": "the image does not look like a brain MRI slice",
}
