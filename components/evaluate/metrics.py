"""The metrics of a classifier on its held-out test set. An undefined metric is NaN here and null in evaluation.json."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from components.evaluate.bootstrap import accuracy_interval, auc_interval
from components.evaluate.calibration import brier_score, calibration_bins, calibration_error
from components.evaluate.predictions import Predictions

MAX_CURVE_POINTS = 200
DECIMALS = 6


def compute_metrics(predictions: Predictions, *, seed: int) -> dict[str, Any]:
    """Return `metrics`, `per_class`, `confusion`, `roc` and `calibration` of evaluation.json, ready for JSON."""
    matrix = confusion_matrix(predictions)
    per_class = class_report(matrix, predictions.classes)
    bins = calibration_bins(*_predicted_and_observed(predictions))
    metrics = {
        "accuracy": _mean(predictions.is_correct),
        "accuracy_interval": accuracy_interval(predictions.is_correct, predictions.groups, seed=seed),
        **_class_averages(per_class, predictions),
        **_areas_under_curves(predictions, seed=seed),
        **_tumor_rates(predictions, per_class),
        "brier": brier_score(predictions.probabilities, predictions.labels),
        "ece": calibration_error(bins),
    }
    return round_floats(
        {"metrics": metrics, "per_class": per_class, "confusion": matrix.tolist(), "roc": _roc(predictions), "calibration": bins}
    )


# scikit-learn's confusion_matrix and precision_recall_fscore_support raise on a test set without images.
def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """Count the images by true class (rows) and predicted class (columns): int [c, c]."""
    size = len(predictions.classes)
    cells = predictions.labels * size + predictions.predicted_labels
    return np.bincount(cells, minlength=size * size).reshape(size, size)


def class_report(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return precision, recall, F1 and support of each class from a confusion matrix, int [c, c]."""
    correct, predicted, support = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0: undefined
        scores = {"precision": correct / predicted, "recall": correct / support, "f1": 2 * correct / (predicted + support)}
    columns = {**scores, "support": support}
    return {name: {key: column[i].item() for key, column in columns.items()} for i, name in enumerate(classes)}


def roc_points(truth: np.ndarray, scores: np.ndarray) -> dict[str, list[float]]:
    """Return a ROC curve of at most `MAX_CURVE_POINTS` finite points; empty when all images have one class.

    Args:
        truth: Whether each image has the class, bool [n].
        scores: Probabilities of the class, float [n], 0-1.
    """
    if truth.all() or not truth.any():
        return {"fpr": [], "tpr": [], "thresholds": []}
    fpr, tpr, thresholds = roc_curve(truth, scores)
    kept = np.unique(np.linspace(0, len(fpr) - 1, min(len(fpr), MAX_CURVE_POINTS)).round().astype(int))
    curve = {"fpr": fpr, "tpr": tpr, "thresholds": np.clip(thresholds, 0, 1)}  # the first threshold is infinite
    return {name: values[kept].tolist() for name, values in curve.items()}


def round_floats(value: Any) -> Any:
    """Round every float in lists and dicts to `DECIMALS`, since a GPU's sums differ in the last digits; NaN becomes None."""
    match value:
        case dict():
            return {key: round_floats(item) for key, item in value.items()}
        case list():
            return [round_floats(item) for item in value]
        case float():
            return None if math.isnan(value) else round(value, DECIMALS)
    return value


def _predicted_and_observed(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Return probability and truth of the second of two classes; with more classes, confidence and correctness."""
    if predictions.is_binary:
        return predictions.probabilities[:, 1], predictions.labels == 1
    return predictions.confidences, predictions.is_correct


def _class_averages(per_class: dict[str, dict[str, Any]], predictions: Predictions) -> dict[str, float]:
    """Return the metrics of the second of two classes; with more classes, their mean, undefined when one is."""
    rows = [per_class[predictions.classes[1]]] if predictions.is_binary else list(per_class.values())
    return {name: _mean([row[name] for row in rows]) for name in ("precision", "recall", "f1")}


def _areas_under_curves(predictions: Predictions, *, seed: int) -> dict[str, Any]:
    """Return ROC-AUC with interval, and PR-AUC as average precision.

    Of the second of two classes; with more, the one-vs-rest mean.
    """
    if len(np.unique(predictions.labels)) < len(predictions.classes):
        return {"roc_auc": math.nan, "roc_auc_interval": None, "pr_auc": math.nan}
    positive = slice(1 if predictions.is_binary else 0, None)
    truth = np.eye(len(predictions.classes), dtype=bool)[predictions.labels][:, positive]
    scores = predictions.probabilities[:, positive]
    return {
        "roc_auc": float(roc_auc_score(truth, scores)),
        "roc_auc_interval": auc_interval(truth, scores, predictions.groups, seed=seed),
        "pr_auc": float(average_precision_score(truth, scores)),
    }


def _roc(predictions: Predictions) -> dict[str, Any]:
    """Return the curve of the second of two classes; with more classes, a one-vs-rest curve each."""
    curves = {
        name: roc_points(predictions.labels == i, predictions.probabilities[:, i]) for i, name in enumerate(predictions.classes)
    }
    return curves[predictions.classes[1]] if predictions.is_binary else curves


def _tumor_rates(predictions: Predictions, per_class: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return specificity and recall of any tumour against no tumour; without a healthy class, NaN and the mean recall."""
    if set(predictions.classes) <= set(predictions.tumor_classes):
        return {"specificity": math.nan, "tumor_recall": _mean([row["recall"] for row in per_class.values()])}
    true, predicted = predictions.is_tumor(predictions.labels), predictions.is_tumor(predictions.predicted_labels)
    return {"specificity": _mean(~predicted[~true]), "tumor_recall": _mean(predicted[true])}


def _mean(values: Sequence[float] | np.ndarray) -> float:
    """Return the mean, NaN if a value is NaN or there is none: leaving one out would flatter the model."""
    return float(np.mean(values)) if len(values) else math.nan
