"""The model card: model.json in a model's folder, the files beside it, and the notice that goes with every result."""

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
SCHEMA = Path(__file__).with_name("model_card.schema.json")


class ModelCardError(InputError):
    """A model.json that cannot be used. The message names the file."""


@dataclass(frozen=True)
class ModelCard:
    """The parts of model.json that the code reads.

    Attributes:
        document: the whole of model.json.
        version: the registry's number; "1" before the model is registered.
        tumor_classes: the classes that are a tumour.
        threshold: of the probability of a tumour; None above two classes.
        synthetic: whether the model was trained on phantoms.
        reference: feature -> {le, share}, cumulative shares of the held-out images.
    """

    document: dict[str, Any]
    name: str
    version: str
    classes: tuple[str, ...]
    tumor_classes: tuple[str, ...]
    threshold: float | None
    synthetic: bool
    reference: dict[str, dict[str, list[Any]]]

    def probabilities(self, columns: list[float]) -> dict[str, float]:
        """Return class -> probability from the model's columns: one of the second class, or one a class."""
        values = columns if len(columns) > 1 else [1 - columns[0], columns[0]]
        return dict(zip(self.classes, values, strict=True))


def read_model_card(model_dir: Path) -> ModelCard:
    """Read the model.json of a model's folder.

    Raises:
        ModelCardError: it is missing, is not JSON, or lacks a key.
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
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelCardError(f"{path} is not a model.json: {error!r}") from error
