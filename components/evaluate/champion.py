"""Set a candidate beside the champion, on the held-out images that the champion was not trained on."""

from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor.errors import InputError
from brain_tumor.model_card import TRAINING_HASHES, ModelCard, read_model_card
from components.dataset import ImagesZip
from components.evaluate.metrics import share_below
from components.evaluate.predict import InferenceResults, run_inference
from components.evaluate.predictions import Predictions
from components.registry import connect, get_champion, local_copy
from components.saved_model import SavedModel

MIN_IMAGES = 30


def compare_with_champion(
    findings: InferenceResults, archive: ImagesZip, *, tracking_uri: str, seed: int
) -> dict[str, Any] | None:
    """Score the champion on the images that the candidate was scored on.

    Args:
        findings: the candidate's answers.
        archive: the images.
        tracking_uri: of the registry; empty takes MLFLOW_TRACKING_URI.
        seed: of the bootstrap.

    Returns:
        `version`; `images`, those that the champion was not trained on; `reason`, why there is no comparison; and where there
        is one `accuracy`, `champion_accuracy` and `share_below`. None where there is no champion.

    Raises:
        InputError: there is no registry, or it does not answer.
    """
    registered = get_champion(connect(tracking_uri))
    if registered is None:
        return None
    comparison: dict[str, Any] = {"version": registered.version, "images": 0}
    try:
        with local_copy(registered) as folder:
            card, seen = read_model_card(folder), set((folder / TRAINING_HASHES).read_text().split())
            unseen = np.array([sample.sha256 not in seen for sample in findings.samples], dtype=bool)
            comparison["images"] = int(unseen.sum())
            reason = _reason_not_comparable(findings.predictions, unseen, card)
            figures = {} if reason else _compare(findings, unseen, archive, folder, card, seed=seed)
            return comparison | {"reason": reason, **figures}
    except OSError as error:
        return comparison | {"reason": f"its files cannot be read: {error.strerror}"}
    except InputError as error:
        return comparison | {"reason": f"it cannot be asked: {error}"}


def _compare(
    findings: InferenceResults, unseen: np.ndarray, archive: ImagesZip, folder: Path, card: ModelCard, *, seed: int
) -> dict[str, float]:
    samples = [sample for sample, is_unseen in zip(findings.samples, unseen, strict=True) if is_unseen]
    theirs = run_inference(SavedModel(folder), archive, samples, card, note=", for the champion").predictions
    ours = findings.predictions.is_correct[unseen]
    return {
        "accuracy": float(ours.mean()),
        "champion_accuracy": float(theirs.is_correct.mean()),
        "share_below": share_below(ours, theirs.is_correct, theirs.groups, seed=seed),
    }


def _reason_not_comparable(predictions: Predictions, unseen: np.ndarray, card: ModelCard) -> str:
    if list(card.classes) != list(predictions.classes):
        return f"it knows the classes {', '.join(card.classes)}"
    if unseen.sum() < MIN_IMAGES:
        return f"it was not trained on {unseen.sum()} of the held-out images, wanted {MIN_IMAGES}"
    if len(np.unique(predictions.labels[unseen])) < 2 or len(np.unique(predictions.groups[unseen])) < 2:
        return "the held-out images that it was not trained on are of one class or one group"
    return ""
