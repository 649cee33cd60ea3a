"""Scores of predictions that are pooled over folds and averaged over seeds, with bootstrap intervals over groups."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brain_tumor.model_card import MIN_IN_DISTRIBUTION
from components.evaluate.bootstrap import weighted_auc
from components.evaluate.doubt import calibration_line, without_temperature
from pipelines.cross_validation.training import Outputs

RESAMPLES = 1000


@dataclass(frozen=True)
class Scored:
    """Outputs for n images, the indices of their true classes, int [n], and whether each class is a tumour, bool [classes]."""

    outputs: Outputs
    labels: np.ndarray
    is_tumor: np.ndarray


# From outputs and truth, and the weight of each image, float [n], to a score.
Score = Callable[[Scored, np.ndarray], float]


def average(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the weighted mean, NaN without weight."""
    return float(values @ weights / weights.sum()) if weights.sum() else math.nan


def auc(given: Scored, weights: np.ndarray) -> float:
    """Return the ROC-AUC of the tumour probability; above two classes the one-vs-rest mean."""
    columns = range(len(given.is_tumor)) if len(given.is_tumor) > 2 else (1,)
    return float(np.mean([weighted_auc(given.labels == i, given.outputs.probability[:, i], weights) for i in columns]))


def accuracy(given: Scored, weights: np.ndarray) -> float:
    """Return the accuracy of the labels that the model gives, at its threshold."""
    return average(given.outputs.predicted == given.labels, weights)


def accuracy_at_half(given: Scored, weights: np.ndarray) -> float:
    """Return the accuracy of the most probable class: with two classes, at threshold 0.5."""
    return average(given.outputs.probability.argmax(axis=1) == given.labels, weights)


def sensitivity(given: Scored, weights: np.ndarray) -> float:
    """Return the share of tumours that are predicted as any tumour."""
    return average(given.is_tumor[given.outputs.predicted], weights * given.is_tumor[given.labels])


def specificity(given: Scored, weights: np.ndarray) -> float:
    """Return the share of images without a tumour that are predicted as such."""
    return average(~given.is_tumor[given.outputs.predicted], weights * ~given.is_tumor[given.labels])


def sensitivity_at_half(given: Scored, weights: np.ndarray) -> float:
    """Return the sensitivity of the most probable class."""
    return average(given.is_tumor[given.outputs.probability.argmax(axis=1)], weights * given.is_tumor[given.labels])


def specificity_at_half(given: Scored, weights: np.ndarray) -> float:
    """Return the specificity of the most probable class."""
    return average(~given.is_tumor[given.outputs.probability.argmax(axis=1)], weights * ~given.is_tumor[given.labels])


def brier(given: Scored, weights: np.ndarray) -> float:
    """Return the mean squared error of the probabilities: of one of two classes, summed over more classes."""
    return _brier(given.outputs.probability, given.labels, weights)


def brier_before_temperature(given: Scored, weights: np.ndarray) -> float:
    """Return the Brier score of the probabilities without temperature scaling."""
    return _brier(without_temperature(given.outputs.probability, given.outputs.temperature[:, None]), given.labels, weights)


def calibration_slope(given: Scored, weights: np.ndarray) -> float:
    """Return the slope of a logistic regression of the truth on the logit of the tumour probability: 1 if calibrated."""
    tumor = given.outputs.probability[:, given.is_tumor].sum(axis=1)
    line = calibration_line(tumor, given.is_tumor[given.labels], weights)
    return line[0] if line else math.nan


def uncertain_share(given: Scored, weights: np.ndarray) -> float:
    """Return the share of images that the model calls uncertain."""
    return average(given.outputs.uncertain, weights)


def accuracy_if_certain(given: Scored, weights: np.ndarray) -> float:
    """Return the accuracy on the images that are not uncertain."""
    return average(given.outputs.predicted == given.labels, weights * ~given.outputs.uncertain)


def unlike_training_share(given: Scored, weights: np.ndarray) -> float:
    """Return the share of images that are unlike the training images."""
    return average(given.outputs.in_distribution < MIN_IN_DISTRIBUTION, weights)


def coverage(index: int) -> Score:
    """Return the score: how often the conformal set of an image of class `index` holds this class."""

    def score(given: Scored, weights: np.ndarray) -> float:
        covered = given.outputs.probability[:, index] >= given.outputs.minimum[:, index]
        return average(covered, weights * (given.labels == index))

    return score


SCORES: dict[str, Score] = {
    "accuracy": accuracy,
    "accuracy_at_half": accuracy_at_half,
    "auc": auc,
    "sensitivity": sensitivity,
    "specificity": specificity,
    "sensitivity_at_half": sensitivity_at_half,
    "specificity_at_half": specificity_at_half,
    "brier": brier,
    "brier_before_temperature": brier_before_temperature,
    "calibration_slope": calibration_slope,
    "uncertain": uncertain_share,
    "accuracy_if_certain": accuracy_if_certain,
    "unlike_training": unlike_training_share,
}
BASELINE_SCORES = ("accuracy_at_half", "auc", "brier", "sensitivity_at_half", "specificity_at_half")
EXTERNAL_SCORES = (
    *("accuracy", "accuracy_at_half", "auc", "sensitivity", "specificity", "sensitivity_at_half", "specificity_at_half"),
    *("brier", "uncertain", "accuracy_if_certain", "unlike_training"),
)


def scores_of(
    outputs: Sequence[Outputs],
    labels: np.ndarray,
    groups: np.ndarray,
    classes: Sequence[str],
    is_tumor: np.ndarray,
    names: Sequence[str] = tuple(SCORES),
) -> dict[str, dict[str, Any]]:
    """Return each score as the mean over seeds, with the 95 % interval of a bootstrap over groups.

    Args:
        outputs: The outputs of each seed, each for the same n images.
        labels: Indices of the true classes, int [n].
        groups: Numbers of the groups of near copies, int [n].
        classes: Class names.
        is_tumor: Whether each class is a tumour, bool [classes].
        names: Names of the scores; those with `coverage` are added for each class.
    """
    scored = [Scored(each, labels, is_tumor) for each in outputs]
    functions = {name: SCORES[name] for name in names}
    if "uncertain" in names:
        functions |= {f"coverage_{name}": coverage(index) for index, name in enumerate(classes)}
    members = np.unique(groups, return_inverse=True)[1]
    count = members.max() + 1
    rng = np.random.default_rng(0)
    resampled = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)[:, members].astype(float)
    scores = {}
    for name, function in functions.items():
        by_seed = [function(each, np.ones(len(labels))) for each in scored]
        if not np.isnan(by_seed).any():  # undefined, as the specificity of a set of tumours
            draws = [np.mean([function(each, weights) for each in scored]) for weights in resampled]
            interval = np.nanpercentile(draws, [2.5, 97.5]).tolist()
            scores[name] = {"mean": float(np.mean(by_seed)), "interval": interval, "by_seed": by_seed}
    return scores


def _brier(probability: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    truth = np.eye(probability.shape[1])[labels]
    return average(((probability - truth) ** 2).sum(axis=1), weights) / (2 if probability.shape[1] == 2 else 1)
