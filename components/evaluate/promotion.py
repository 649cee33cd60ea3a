"""Decide whether a model is promoted. Pure: imports nothing of the project."""

import math
from collections.abc import Mapping
from typing import Any

CONFIDENCE = 0.95
CHANCE_AUC = 0.5


def reasons_not_to_promote(
    metrics: Mapping[str, float | list[float] | None],
    per_class: Mapping[str, Mapping[str, Any]],
    champion: Mapping[str, Any] | None = None,
    *,
    min_auc: float,
    min_recall: float,
    min_class_images: int,
    allow_unreadable_champion: bool = False,
) -> list[str]:
    """Return the reasons against promoting a model, one sentence each; empty when it is promoted.

    Args:
        metrics: `metrics` of evaluation.json, with `roc_auc` and `tumor_recall`, 0-1 or None, and `roc_auc_interval`.
        per_class: `per_class` of evaluation.json, with `support` and `groups`.
        champion: The champion's `version`; `accuracy`, `champion_accuracy` and `share_below` if the two were compared, else
            `reason`, and whether it is `unreadable`.
        min_auc: Minimum ROC-AUC, 0-1; with 0 the ROC-AUC does not matter.
        min_recall: Minimum recall of any tumour against no tumour, 0-1.
        min_class_images: Minimum number of held-out images of every class, in half as many groups.
        allow_unreadable_champion: Whether a champion that cannot be read is replaced.
    """
    reasons = [
        *_missing_images(per_class, min_class_images),
        _auc_reason(metrics, min_auc) if min_auc > 0 else "",
        _reason_below("Tumour recall", metrics["tumor_recall"], min_recall, "images with a tumour"),
        _champion_reason(champion, allow_unreadable_champion) if champion else "",
    ]
    return [reason for reason in reasons if reason]


def min_class_groups(min_class_images: int) -> int:
    """Return the minimum number of groups of near copies among the held-out images of every class."""
    return math.ceil(min_class_images / 2)


def _missing_images(per_class: Mapping[str, Mapping[str, Any]], min_class_images: int) -> list[str]:
    min_groups = min_class_groups(min_class_images)
    return [
        f"The held-out test set lacks {_lacking(row, min_class_images, min_groups)} of {name}: it has {row['support']} images in "
        f"{row['groups']} groups; min_class_images wants {min_class_images} images in {min_groups} groups of every class."
        for name, row in per_class.items()
        if row["support"] < min_class_images or row["groups"] < min_groups
    ]


def _lacking(row: Mapping[str, Any], min_images: int, min_groups: int) -> str:
    missing = {"images": min_images - row["support"], "groups": min_groups - row["groups"]}
    return " and ".join(f"{count} {name if count > 1 else name[:-1]}" for name, count in missing.items() if count > 0)


def _auc_reason(metrics: Mapping[str, float | list[float] | None], min_auc: float) -> str:
    if reason := _reason_below("ROC-AUC", metrics["roc_auc"], min_auc, "images of every class"):
        return reason
    interval = metrics["roc_auc_interval"]
    if not isinstance(interval, list):
        return "The 95 % interval of the ROC-AUC is undefined: the held-out test set needs several groups of near copies."
    low, high = interval
    if low > CHANCE_AUC:
        return ""
    return (
        f"The 95 % interval of the ROC-AUC is {low:.3f} to {high:.3f}: its lower end is not above {CHANCE_AUC}, which is chance."
    )


def _champion_reason(champion: Mapping[str, Any], allow_unreadable: bool) -> str:
    if champion.get("unreadable") and not allow_unreadable:
        return (
            f"The champion, version {champion['version']}, cannot be compared: {champion['reason']}. Restore it, or replace it "
            "with --set allow_unreadable_champion=true."
        )
    if champion.get("share_below", 0) < CONFIDENCE:
        return ""
    return (
        f"Accuracy is {champion['accuracy']:.3f}, below {champion['champion_accuracy']:.3f} of the champion, "
        f"version {champion['version']}, in {champion['share_below']:.0%} of the bootstrap resamples."
    )


def _reason_below(name: str, value: float | list[float] | None, minimum: float, needed: str) -> str:
    """Return why a metric misses its minimum; empty when it does not."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return f"{name} is undefined: the held-out test set needs {needed}; the minimum is {minimum:.3f}."
    if value >= minimum:
        return ""
    digits = 3 if float(f"{value:.3f}") < minimum else 6  # 0.6999 must not read "0.700, below the minimum of 0.700"
    return f"{name} is {value:.{digits}f}, below the minimum of {minimum:.3f}."
