"""Compare a candidate with the champion, on the held-out images that the champion was not trained on."""

from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor.errors import InputError
from brain_tumor.file_digests import DamagedModelError, check_file_digests
from brain_tumor.model_card import TRAINING_HASHES, ModelCard, read_model_card
from components.dataset import ImagesZip
from components.evaluate.bootstrap import fraction_below
from components.evaluate.predict import InferenceResults, run_inference
from components.evaluate.predictions import Predictions
from components.registry import connect, get_champion, local_copy
from components.saved_model import SavedModel

MIN_IMAGES = 30


def compare_with_champion(
    results: InferenceResults, archive: ImagesZip, *, tracking_uri: str, seed: int
) -> dict[str, Any] | None:
    """Score candidate and champion on the same images.

    Args:
        results: The candidate's results on the held-out test set.
        archive: The images.
        tracking_uri: URI of the registry; empty for MLFLOW_TRACKING_URI.
        seed: Seed of the bootstrap.

    Returns:
        The champion's `version`; `images`, the number of held-out images that it was not trained on; `reason`, why the two
        were not compared; `unreadable`, true if the champion cannot be read; and if they were compared, `accuracy`,
        `champion_accuracy` and `share_below`. None without a champion.

    Raises:
        InputError: No registry is set, or it does not respond.
    """
    registered = get_champion(connect(tracking_uri))
    if registered is None:
        return None
    comparison: dict[str, Any] = {"version": registered.version, "images": 0}
    try:
        with local_copy(registered) as folder:
            check_file_digests(folder, "it")
            card, trained_on = read_model_card(folder), set((folder / TRAINING_HASHES).read_text().split())
            unseen = np.array([sample.sha256 not in trained_on for sample in results.samples], dtype=bool)
            comparison["images"] = int(unseen.sum())
            reason = _reason_not_comparable(results.predictions, unseen, card)
            scores = {} if reason else _compare(results, unseen, archive, folder, card, seed=seed)
            return comparison | {"reason": reason, **scores}
    except OSError as error:
        reason = f"its files cannot be read: {error.strerror}"
    except DamagedModelError as error:
        reason = str(error)
    except InputError as error:
        reason = f"it cannot be run: {error}"
    except ValueError as error:  # a file that is no text
        reason = f"its files cannot be read: {type(error).__name__}"
    return comparison | {"reason": reason, "unreadable": True}


def _compare(
    results: InferenceResults, unseen: np.ndarray, archive: ImagesZip, folder: Path, card: ModelCard, *, seed: int
) -> dict[str, float]:
    samples = [sample for sample, is_unseen in zip(results.samples, unseen, strict=True) if is_unseen]
    champion = run_inference(SavedModel(folder), archive, samples, card, note=", for the champion").predictions
    candidate_correct = results.predictions.is_correct[unseen]
    return {
        "accuracy": float(candidate_correct.mean()),
        "champion_accuracy": float(champion.is_correct.mean()),
        "share_below": fraction_below(candidate_correct, champion.is_correct, champion.groups, seed=seed),
    }


def _reason_not_comparable(predictions: Predictions, unseen: np.ndarray, card: ModelCard) -> str:
    """Return why champion and candidate cannot be compared; empty when they can."""
    if list(card.classes) != list(predictions.classes):
        return f"its classes are {', '.join(card.classes)}"
    if unseen.sum() < MIN_IMAGES:
        return f"it was not trained on {unseen.sum()} of the held-out images, expected at least {MIN_IMAGES}"
    if len(np.unique(predictions.labels[unseen])) < 2 or len(np.unique(predictions.groups[unseen])) < 2:
        return "the held-out images that it was not trained on have only one class or one group"
    return ""
