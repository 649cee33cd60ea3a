"""The figures of merit of a classifier on its held-out images; None where a figure is undefined.

Nothing here knows TensorFlow, and scikit-learn is imported where it is used: importing this module is quick.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from components.evaluate.predictions import Predictions

RESAMPLES = 2000
CALIBRATION_BINS = 10
MAX_CURVE_POINTS = 200
DECIMALS = 6


def compute_metrics(predictions: Predictions, *, seed: int) -> dict[str, Any]:
    """Return `metrics`, `per_class`, `confusion`, `roc` and `calibration` of evaluation.json, ready for JSON."""
    matrix = confusion_matrix(predictions)
    per_class = class_report(matrix, predictions.classes)
    bins = calibration_bins(*_reliability(predictions))
    metrics = {
        "accuracy": _ratio(predictions.is_correct.sum(), len(predictions.labels)),
        "accuracy_interval": accuracy_interval(predictions.is_correct, predictions.groups, seed=seed),
        **_averages(per_class, predictions),
        **_ranking(predictions),
        **_tumor_rates(predictions, per_class),
        "brier": brier_score(predictions),
        "ece": calibration_error(bins),
    }
    return round_floats(
        {"metrics": metrics, "per_class": per_class, "confusion": matrix.tolist(), "roc": _roc(predictions), "calibration": bins}
    )


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """Count the images by true class (rows) and called class (columns): int [c, c]."""
    size = len(predictions.classes)
    cells = predictions.labels * size + predictions.predicted
    return np.bincount(cells, minlength=size * size).reshape(size, size)


def accuracy_interval(is_correct: np.ndarray, groups: np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> list[float] | None:
    """Return the 95 % interval of the accuracy, by the percentile bootstrap over groups.

    Args:
        is_correct: bool [n].
        groups: int [n].
        seed: of the draws.
        resamples: how many resamples.

    Returns:
        The 2.5th and the 97.5th percentile; None with fewer than two groups.
    """
    if len(np.unique(groups)) < 2:
        return None
    sizes, rights = resample_groups(groups, is_correct, seed=seed, resamples=resamples)
    return np.percentile(rights / sizes, [2.5, 97.5]).tolist()


def share_below(ours: np.ndarray, theirs: np.ndarray, groups: np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> float:
    """Return how often our accuracy is below theirs, by the paired bootstrap over groups, 0-1.

    Args:
        ours: whether our model is right, bool [n].
        theirs: whether theirs is right about the same images, bool [n].
        groups: int [n].
        seed: of the draws.
        resamples: how many resamples.
    """
    _, our_rights, their_rights = resample_groups(groups, ours, theirs, seed=seed, resamples=resamples)
    return float((our_rights < their_rights).mean())


def resample_groups(groups: np.ndarray, *values: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Draw whole groups with replacement and sum their sizes and each of their values.

    This is the cluster bootstrap (Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x): near copies are right or wrong
    together. Groups of the same size and sums are alike, so one multinomial draw over these kinds is a resample of all groups.

    Args:
        groups: int [n].
        values: each [n].
        seed: of the draws.
        resamples: how many resamples.

    Returns:
        float64 [1 + number of values, draws].
    """
    _, members = np.unique(groups, return_inverse=True)
    sums = np.stack([np.bincount(members, weights=each) for each in (np.ones(len(groups)), *values)])
    kinds, counts = np.unique(sums, axis=1, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(sums.shape[1], counts / sums.shape[1], size=resamples)
    return kinds @ drawn.T


def class_report(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return precision, recall, F1 and support of each class from a confusion matrix, int [c, c]."""
    hits, predicted, true = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
    return {
        name: {
            "precision": _ratio(hits[i], predicted[i]),
            "recall": _ratio(hits[i], true[i]),
            "f1": _ratio(2 * hits[i], predicted[i] + true[i]),
            "support": int(true[i]),
        }
        for i, name in enumerate(classes)
    }


def brier_score(predictions: Predictions) -> float | None:
    """Return the mean squared error of the probabilities (Brier 1950): of one class of two, summed over the classes above two."""
    if not len(predictions.labels):
        return None
    errors = (predictions.probabilities - np.eye(len(predictions.classes))[predictions.labels]) ** 2
    return float(errors[:, 1].mean() if predictions.is_binary else errors.sum(axis=1).mean())


def calibration_bins(predicted: np.ndarray, observed: np.ndarray, bins: int = CALIBRATION_BINS) -> list[dict[str, Any]]:
    """Return the points of a reliability diagram: equal-width bins of the prediction, those that hold images.

    Args:
        predicted: probabilities, float [n], 0-1.
        observed: whether what was predicted is so, bool [n].
        bins: how many.
    """
    places = np.minimum((predicted * bins).astype(int), bins - 1)
    return [
        {"predicted": float(predicted[inside].mean()), "observed": float(observed[inside].mean()), "count": int(inside.sum())}
        for inside in (places == place for place in np.unique(places))
    ]


def calibration_error(bins: list[dict[str, Any]]) -> float | None:
    """Return the expected calibration error (Naeini et al. 2015): the bins' mean distance from the diagonal, by their counts."""
    total = sum(point["count"] for point in bins)
    return _ratio(sum(point["count"] * abs(point["predicted"] - point["observed"]) for point in bins), total)


def roc_points(truth: np.ndarray, scores: np.ndarray) -> dict[str, list[float]]:
    """Return a ROC curve of finite numbers, at most `MAX_CURVE_POINTS` of them; empty with one class only.

    Args:
        truth: whether it is the class, bool [n].
        scores: its probability, float [n], 0-1.
    """
    if truth.all() or not truth.any():
        return {"fpr": [], "tpr": [], "thresholds": []}
    from sklearn.metrics import roc_curve

    fpr, tpr, thresholds = roc_curve(truth, scores)
    kept = np.unique(np.linspace(0, len(fpr) - 1, min(len(fpr), MAX_CURVE_POINTS)).round().astype(int))
    curve = {"fpr": fpr, "tpr": tpr, "thresholds": np.clip(thresholds, 0, 1)}  # the first threshold is infinite
    return {name: values[kept].tolist() for name, values in curve.items()}


def round_floats(value: Any) -> Any:
    """Round every float in lists and dicts to `DECIMALS`: what a GPU sums in another order reads the same."""
    match value:
        case dict():
            return {key: round_floats(item) for key, item in value.items()}
        case list():
            return [round_floats(item) for item in value]
        case float():
            return round(value, DECIMALS)
    return value


def _reliability(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """The probability of the second of two classes and whether it is that; above two, the confidence and whether it is right."""
    if predictions.is_binary:
        return predictions.probabilities[:, 1], predictions.labels == 1
    return predictions.confidences, predictions.is_correct


def _averages(per_class: dict[str, dict[str, Any]], predictions: Predictions) -> dict[str, float | None]:
    rows = [per_class[predictions.classes[1]]] if predictions.is_binary else list(per_class.values())
    return {name: _mean([row[name] for row in rows]) for name in ("precision", "recall", "f1")}


def _ranking(predictions: Predictions) -> dict[str, float | None]:
    """ROC-AUC, and PR-AUC as average precision; of the second of two classes, above two the mean of one-vs-rest."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    pairs = [(truth, scores) for _, truth, scores in _one_vs_rest(predictions)]
    if any(truth.all() or not truth.any() for truth, _ in pairs):
        return {"roc_auc": None, "pr_auc": None}
    return {
        "roc_auc": _mean([float(roc_auc_score(*pair)) for pair in pairs]),
        "pr_auc": _mean([float(average_precision_score(*pair)) for pair in pairs]),
    }


def _roc(predictions: Predictions) -> dict[str, Any]:
    curves = {name: roc_points(truth, scores) for name, truth, scores in _one_vs_rest(predictions)}
    return curves[predictions.classes[1]] if predictions.is_binary else curves


def _one_vs_rest(predictions: Predictions) -> list[tuple[str, np.ndarray, np.ndarray]]:
    names = list(enumerate(predictions.classes))
    return [
        (name, predictions.labels == i, predictions.probabilities[:, i])
        for i, name in (names[1:] if predictions.is_binary else names)
    ]


def _tumor_rates(predictions: Predictions, per_class: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """Specificity and recall of any tumour against no tumour; where every class is a tumour, none and the mean recall."""
    if set(predictions.classes) <= set(predictions.tumor_classes):
        return {"specificity": None, "tumor_recall": _mean([row["recall"] for row in per_class.values()])}
    true, predicted = predictions.is_tumor(predictions.labels), predictions.is_tumor(predictions.predicted)
    return {
        "specificity": _ratio((~true & ~predicted).sum(), (~true).sum()),
        "tumor_recall": _ratio((true & predicted).sum(), true.sum()),
    }


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None


def _mean(values: list[float | None]) -> float | None:
    """The mean, or None where one of them is undefined: leaving it out would flatter the model."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
