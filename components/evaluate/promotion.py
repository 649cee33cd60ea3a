"""Decide whether a model is promoted. Pure: imports nothing of the project."""

import math
from collections.abc import Mapping
from typing import Any

CONFIDENCE = 0.95


def reasons_not_to_promote(
    metrics: Mapping[str, float | list[float] | None],
    champion: Mapping[str, Any] | None = None,
    *,
    min_auc: float,
    min_recall: float,
) -> list[str]:
    """Return the reasons against promoting a model, one sentence each; empty when it is promoted.

    Args:
        metrics: `metrics` of evaluation.json, with `roc_auc` and `tumor_recall`, 0-1 or None.
        champion: The champion's `version`, and `accuracy`, `champion_accuracy` and `share_below` if the two were compared.
        min_auc: Minimum ROC-AUC, 0-1.
        min_recall: Minimum recall of any tumour against no tumour, 0-1.
    """
    checks = [
        ("ROC-AUC", metrics["roc_auc"], min_auc, "images of every class"),
        ("Tumour recall", metrics["tumor_recall"], min_recall, "images with a tumour"),
    ]
    reasons = [reason for name, value, minimum, needed in checks if (reason := _reason_below(name, value, minimum, needed))]
    if champion and champion.get("share_below", 0) >= CONFIDENCE:
        reasons.append(
            f"Accuracy is {champion['accuracy']:.3f}, below {champion['champion_accuracy']:.3f} of the champion, "
            f"version {champion['version']}, in {champion['share_below']:.0%} of the bootstrap resamples."
        )
    return reasons


def _reason_below(name: str, value: float | list[float] | None, minimum: float, needed: str) -> str:
    """Return why a metric misses its minimum; empty when it does not."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return f"{name} is undefined: the held-out test set needs {needed}; the minimum is {minimum:.3f}."
    if value >= minimum:
        return ""
    digits = 3 if float(f"{value:.3f}") < minimum else 6  # 0.6999 must not read "0.700, below the minimum of 0.700"
    return f"{name} is {value:.{digits}f}, below the minimum of {minimum:.3f}."
