"""Measure whether a model's doubt can be trusted: its calibration, its conformal sets and the images that it marks."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from components.evaluate.bootstrap import resample_weights
from components.evaluate.calibration import brier_score
from components.evaluate.predict import InferenceResults

LINE_RESAMPLES = 1000
# A bootstrap interval needs the line of at least this fraction of the resamples.
MIN_FITTED = 0.95
# Smallest distance of a probability from 0 and 1: that of a float32 from 1.
EPSILON = 1e-7


def measure_doubt(results: InferenceResults, calibration: Mapping[str, Any] | None, *, seed: int) -> dict[str, Any] | None:
    """Return `doubt` of evaluation.json.

    Args:
        results: The model's results on the held-out test set.
        calibration: `calibration` of model.json; None for a model without it.
        seed: Seed of the bootstrap.

    Returns:
        Shares of images marked `unlike_training` and `uncertain`; `certain`, number and accuracy of the images that are not
        uncertain; `coverage` of the conformal sets by class; the Brier score without and with the temperature; and
        `calibration_line`, slope and intercept with their intervals. None without a calibration or images.
    """
    predictions = results.predictions
    if not calibration or not len(predictions.labels):
        return None
    probabilities, labels, certain = predictions.probabilities, predictions.labels, ~results.uncertain
    minimums = calibration["conformal"]["min_probability"]
    coverage = conformal_coverage(probabilities, labels, np.array([minimums[name] for name in predictions.classes]))
    before = without_temperature(probabilities, calibration["temperature"]["value"])
    tumor_columns = predictions.is_tumor(np.arange(len(predictions.classes)))
    tumor_probabilities = probabilities[:, tumor_columns].sum(axis=1)
    line = calibration_line_with_interval(tumor_probabilities, tumor_columns[labels], predictions.groups, seed=seed)
    return {
        "unlike_training": float(results.unlike_training.mean()),
        "uncertain": float(results.uncertain.mean()),
        "certain": {"images": int(certain.sum()), "accuracy": _mean(predictions.is_correct[certain])},
        "coverage": dict(zip(predictions.classes, coverage.tolist(), strict=True)),
        "brier": {"without_temperature": brier_score(before, labels), "with_temperature": brier_score(probabilities, labels)},
        "calibration_line": line,
    }


def conformal_coverage(probabilities: np.ndarray, labels: np.ndarray, min_probability: np.ndarray) -> np.ndarray:
    """Return the fraction of each class's images whose conformal set has the true class (Vovk 2012).

    Args:
        probabilities: float [n, c].
        labels: True classes, int [n], 0 to c - 1.
        min_probability: Probability from which each class is in the set, float [c].

    Returns:
        float64 [c], 0-1; NaN for a class without images.
    """
    covered = probabilities[np.arange(len(labels)), labels] >= min_probability[labels]
    return np.array([_mean(covered[labels == index]) for index in range(len(min_probability))])


def without_temperature(probabilities: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Return the probabilities at a temperature of 1, from their logits.

    Args:
        probabilities: float [n, c], rows sum to 1.
        temperature: The temperature that they have been computed with (Guo et al. 2017), above 0; one for all, or float [n, 1].

    Returns:
        float64 [n, c], rows sum to 1.
    """
    scores = temperature * np.log(np.maximum(probabilities, EPSILON))  # softmax ignores the constant that this lacks
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def calibration_line(
    probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float] | None:
    """Return slope and intercept of the logistic regression of the truth on the logit of its probability (Cox 1958).

    Slope 1 and intercept 0 are perfect. A slope below 1 means probabilities too near to 0 and 1, an intercept above 0 means
    probabilities too low.

    Args:
        probabilities: Probabilities of an event, float [n], 0-1.
        truth: Whether the event occurred, bool [n].
        weights: Weight of each image, int or float [n], 0 or more; by default 1.

    Returns:
        None if the regression has no finite solution: all images are alike, or the probabilities separate the events.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    counted = np.ones(len(truth), bool) if weights is None else weights > 0
    clipped = np.clip(probabilities[counted], EPSILON, 1 - EPSILON)
    logits, events = np.log(clipped / (1 - clipped)), truth[counted]
    if events.all() or not events.any() or _separated(logits[events], logits[~events]):
        return None
    regression = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-6)  # many times as fast as the default, lbfgs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at the optimum its line search fails, and it turns to lbfgs
        regression.fit(logits[:, None], events, None if weights is None else weights[counted])
    return float(regression.coef_[0, 0]), float(regression.intercept_[0])


def calibration_line_with_interval(
    probabilities: np.ndarray, truth: np.ndarray, groups: np.ndarray, *, seed: int, resamples: int = LINE_RESAMPLES
) -> dict[str, dict[str, Any]] | None:
    """Return `slope` and `intercept` of `calibration_line`, each as `value` and 95 % `interval`.

    The interval is that of the percentile bootstrap over groups. It is None with fewer than two groups, or if fewer than
    `MIN_FITTED` of the resamples have a line.

    Args:
        probabilities: Probabilities of an event, float [n], 0-1.
        truth: Whether the event occurred, bool [n].
        groups: Group numbers, int [n].
        seed: Seed of the bootstrap.
        resamples: Number of resamples.
    """
    line = calibration_line(probabilities, truth)
    if line is None:
        return None
    intervals: list[list[float] | None] = [None, None]
    if len(np.unique(groups)) > 1:
        weights = resample_weights(groups, seed=seed, resamples=resamples)
        lines = [each for each in (calibration_line(probabilities, truth, counts) for counts in weights) if each is not None]
        if len(lines) >= MIN_FITTED * resamples:
            intervals = np.percentile(lines, [2.5, 97.5], axis=0).T.tolist()
    pairs = zip(("slope", "intercept"), line, intervals, strict=True)
    return {name: {"value": value, "interval": interval} for name, value, interval in pairs}


def _separated(positive: np.ndarray, negative: np.ndarray) -> bool:
    return bool(positive.min() >= negative.max() or positive.max() <= negative.min())


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
