"""The model card: model.json in a model's folder, the other files in assets.extra, and the notice shown with every result."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brain_tumor.errors import InputError

MODEL_NAME = "brain-tumor"
NOTICE = "Assists a reader and does not replace one. Not for diagnosis."
MODEL_CARD_PATH = Path("assets.extra") / "model.json"
TRAINING_HASHES = Path("assets.extra") / "train.sha256"
WARMUP_REQUESTS = Path("assets.extra") / "tf_serving_warmup_requests"  # the name that TF Serving expects
KEYS = {"name", "version", "classes", "tumor_classes", "threshold", "dataset", "reference"}
MIN_IN_DISTRIBUTION = 0.5  # below it, an image is unlike the training images
SCHEMA = Path(__file__).with_name("model_card.schema.json")


class ModelCardError(InputError):
    """An invalid model.json. The message names the file."""


@dataclass(frozen=True)
class ModelCard:
    """The content of model.json.

    Attributes:
        document: The complete model.json.
        name: Name of the model.
        version: Version number in the registry; "1" before registration.
        classes: Class names, in the order of the probability's columns.
        tumor_classes: Classes that are a tumour.
        threshold: Threshold on the probability of a tumour; None for more than two classes.
        synthetic: Whether the model was trained on phantoms.
        reference: Feature -> {le, share}, cumulative shares of the held-out images.
        explanation: Method of the heatmap: `grad_cam`, or `evidence`, the map that the model sums into its score.
    """

    document: dict[str, Any]
    name: str
    version: str
    classes: tuple[str, ...]
    tumor_classes: tuple[str, ...]
    threshold: float | None
    synthetic: bool
    reference: dict[str, dict[str, list[Any]]]
    explanation: str = "grad_cam"

    def probabilities(self, columns: list[float]) -> dict[str, float]:
        """Return class -> probability from the model's columns: the second class alone, or every class."""
        values = columns if len(columns) > 1 else [1 - columns[0], columns[0]]
        return dict(zip(self.classes, values, strict=True))


def read_model_card(model_dir: Path) -> ModelCard:
    """Read model.json from a model's folder.

    Raises:
        ModelCardError: The file is missing or not JSON, or a key is missing or invalid.
    """
    path = model_dir / MODEL_CARD_PATH
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelCardError(f"{path} cannot be read: {error.strerror}; expected the folder of one model version") from error
    except ValueError as error:
        raise ModelCardError(f"{path} is not JSON: {error}") from error
    missing = KEYS - set(document) if isinstance(document, dict) else KEYS
    if missing:
        raise ModelCardError(f"{path} lacks {sorted(missing)}")
    try:
        return ModelCard(
            document=document,
            name=document["name"],
            version=str(document["version"] or 1),
            classes=tuple(document["classes"]),
            tumor_classes=tuple(document["tumor_classes"]),
            threshold=document["threshold"],
            synthetic=document["dataset"]["synthetic"],
            reference=document["reference"] or {},
            explanation=document.get("explanation", ModelCard.explanation),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelCardError(f"{path}: not a valid model.json: {error!r}") from error
