"""What the transformer knows of the model: its model.json."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CARD = Path("assets.extra") / "model.json"


class CardError(ValueError):
    """A model.json that cannot be used."""


@dataclass(frozen=True)
class ModelCard:
    """The parts of model.json that serving needs.

    Attributes:
        document: all of it, as it stands in the file.
        threshold: of the probability of a tumour; None above two classes.
        reference: feature -> {le, share}, cumulative shares of the held-out pictures.
    """

    document: dict[str, Any]
    name: str
    version: str
    classes: tuple[str, ...]
    threshold: float | None
    synthetic: bool
    reference: dict[str, dict[str, list[Any]]]

    def probabilities(self, columns: list[float]) -> dict[str, float]:
        """Return class -> probability from the model's columns: one of the second class, or one a class."""
        values = columns if len(columns) > 1 else [1 - columns[0], columns[0]]
        return dict(zip(self.classes, values, strict=True))


def read_card(model_dir: Path) -> ModelCard:
    """Read the model.json of a model's folder.

    Raises:
        CardError: it is missing, is not JSON, or lacks a key.
    """
    path = model_dir / CARD
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return ModelCard(
            document=document,
            name=document["name"],
            version=str(document["version"] or 1),
            classes=tuple(document["classes"]),
            threshold=document["threshold"],
            synthetic=document["dataset"]["synthetic"],
            reference=document["reference"] or {},
        )
    except OSError as error:
        raise CardError(f"{path} cannot be read: {error.strerror}; MODEL_DIR wants the folder of one version") from error
    except KeyError as error:
        raise CardError(f"{path} lacks {error}") from error
    except (TypeError, ValueError) as error:
        raise CardError(f"{path} is not a model.json: {error}") from error
