"""Decide whether a model may be registered. Pure: imports nothing of ours."""

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
    """Return the reasons for refusing a model, one sentence each; empty when it passes.

    Args:
        metrics: the `metrics` of evaluation.json; of them `roc_auc` and `tumor_recall` are judged, 0-1 or None.
        champion: its `version`, and `accuracy`, `champion_accuracy` and `share_below` where the two were compared.
        min_auc: the least ROC-AUC wanted, 0-1.
        min_recall: the least recall wanted, of any tumour against no tumour, 0-1.
    """
    wanted = [
        ("ROC-AUC", metrics["roc_auc"], min_auc, "the held-out part needs images of every class"),
        ("Tumour recall", metrics["tumor_recall"], min_recall, "the held-out part needs images with a tumour"),
    ]
    reasons = [reason for name, value, minimum, need in wanted if (reason := _refusal(name, value, minimum, need))]
    if champion and champion.get("share_below", 0) >= CONFIDENCE:
        reasons.append(
            f"Accuracy is {champion['accuracy']:.3f} where version {champion['version']}, the champion, has "
            f"{champion['champion_accuracy']:.3f}: lower in {champion['share_below']:.0%} of the bootstrap's draws."
        )
    return reasons


def _refusal(name: str, value: float | list[float] | None, minimum: float, need: str) -> str:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return f"{name} is undefined: {need}; the wanted minimum is {minimum:.3f}."
    if not value >= minimum:
        shown = f"{value:.3f}"
        exact = f"{value:.6f}"  # where 0.6999 would be refused as "0.700, below 0.700"
        return f"{name} is {shown if float(shown) < minimum else exact}, below the wanted minimum of {minimum:.3f}."
    return ""
