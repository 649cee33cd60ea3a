"""Compare predicted probabilities with observed frequencies."""

import math
from typing import Any

import numpy as np

CALIBRATION_BINS = 10


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
