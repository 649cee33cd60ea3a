"""Compare predicted probabilities with observed frequencies."""

import math
from typing import Any

import numpy as np

CALIBRATION_BINS = 10


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean squared error of probabilities (Brier 1950): of one of two classes, summed over more classes.

    Args:
        probabilities: float [n, c], rows sum to 1.
        labels: True classes, int [n], 0 to c - 1.

    Returns:
        0-1, or 0-2 above two classes; NaN without images.
    """
    # scikit-learn's brier_score_loss warns when rows of float32 probabilities do not sum to exactly 1.
    if not len(labels):
        return math.nan
    classes = probabilities.shape[1]
    return float(((probabilities - np.eye(classes)[labels]) ** 2).sum(axis=1).mean()) / (2 if classes == 2 else 1)


def calibration_bins(predicted: np.ndarray, observed: np.ndarray, bins: int = CALIBRATION_BINS) -> list[dict[str, Any]]:
    """Return the points of a reliability diagram, one for each equal-width bin with images.

    Args:
        predicted: Probabilities of an event, float [n], 0-1.
        observed: Whether the event occurred, bool [n].
        bins: Number of bins.

    Returns:
        Mean probability `predicted`, frequency `observed` and `count` of each bin.
    """
    # scikit-learn's calibration_curve returns no counts, which the calibration error and the diagram need.
    indices = np.minimum((predicted * bins).astype(int), bins - 1)
    return [
        {"predicted": float(predicted[inside].mean()), "observed": float(observed[inside].mean()), "count": int(inside.sum())}
        for inside in (indices == index for index in np.unique(indices))
    ]


def calibration_error(bins: list[dict[str, Any]]) -> float:
    """Return the expected calibration error (Naeini et al. 2015), 0-1: the bins' mean distance from the diagonal by count."""
    total = sum(point["count"] for point in bins)
    return sum(point["count"] * abs(point["predicted"] - point["observed"]) for point in bins) / total if total else math.nan
