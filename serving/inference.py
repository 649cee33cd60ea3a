"""An inference request while the transformer handles it."""

from dataclasses import dataclass

from kserve import InferRequest
from PIL import Image

from brain_tumor.images import OpenedDicom, OpenedImage

WARNINGS = {
    "synthetic_model": "the model was trained on synthetic phantoms: its predictions for patient images are meaningless",
    "unlike_training": (
        "the image is unlike those the model was trained on (no brain MRI, or another sequence or source): "
        "do not rely on the prediction"
    ),
    "uncertain": "the model cannot tell the classes apart for this image at its error rate: a reader should decide without it",
    "not_mr": "the DICOM file does not say that it is an MR image: the model was trained on MRI slices",
    "not_head": "the DICOM file says that it shows another body part than the head: do not rely on the prediction",
}


@dataclass(frozen=True)
class SliceFacts:
    """What a DICOM file states about one of its images: attributes of `brain_tumor.dicom.DicomImage`.

    Attributes:
        frames: Number of images in the file.
        position_mm: Position along the normal of the image; None if it is not stated.
        normal: The normal, a unit vector; None if it is not stated.
        instance_number: Instance Number; None if it is not stated.
        series: Digest of the series, for comparison in memory; empty if it is not stated.
    """

    frames: int
    position_mm: float | None
    normal: tuple[float, float, float] | None
    instance_number: int | None
    series: str


@dataclass(frozen=True)
class PreparedImage:
    """A fully decoded image.

    Attributes:
        data: Encoded bytes that the model's graph can decode.
        scaled: The upright image at the overlay's size, of mode `RGB`; None if no overlay is requested.
        brightness: Mean grey level, 0-1.
        side_px: Longest side in pixels.
        warning_codes: Keys of `WARNINGS` that apply to the image by what its file states.
        facts: What a DICOM file states; None for the other formats.
    """

    data: bytes
    scaled: Image.Image | None
    brightness: float
    side_px: int
    warning_codes: tuple[str, ...] = ()
    facts: SliceFacts | None = None


@dataclass(frozen=True)
class ImageResult:
    """The prediction for one image.

    Attributes:
        label: Predicted class.
        probability: [C], the probability of each class, or of a tumour alone.
        confidence: Probability of `label`.
        in_distribution: Likeness to the training images, 0-1; below 0.5 the image is unlike them.
        uncertain: Whether the model cannot tell the classes apart at its error rate.
        warning_codes: Keys of `WARNINGS`.
        heatmap: Explanation of `label`, [h][w], 0-1; None if not requested.
        overlay: PNG of the heatmap over the image; None if not requested.
    """

    label: str
    probability: list[float]
    confidence: float
    in_distribution: float
    uncertain: bool
    warning_codes: list[str]
    heatmap: list[list[float]] | None = None
    overlay: bytes | None = None


@dataclass(frozen=True)
class ImageRequest:
    """The images of one client request, of any protocol, and the results so far.

    Attributes:
        encoded: Image files as received.
        explain: Whether heatmap and overlay are requested; None if the client leaves it to the route.
        list_name: Name of the list of images in the client's protocol, for error messages; empty for a single image.
        frames: Number of the chosen image in each file with several, from 1, or None; empty if none is chosen.
        v2_request: The V2 request with these images; None for the other protocols.
        columnar: Whether a V1 request and its response list the values of each field, not the fields of each image.
        first: Position of the first of these images in the client's list.
        opened: The images with their headers read; empty before that.
        images: The decoded images; empty before that.
        results: The predictions; empty before that.
    """

    encoded: list[bytes]
    explain: bool | None = None
    list_name: str = ""
    frames: tuple[int | None, ...] = ()
    v2_request: InferRequest | None = None
    columnar: bool = False
    first: int = 0
    opened: tuple[OpenedImage | OpenedDicom, ...] = ()
    images: tuple[PreparedImage, ...] = ()
    results: tuple[ImageResult, ...] = ()

    def error_prefix(self, index: int) -> str:
        """Return the start of an error message about one image, such as `instances[3]: `."""
        return f"{self.list_name}[{self.first + index}]: " if self.list_name else ""
