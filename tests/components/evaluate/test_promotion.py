from typing import Any

import pytest

from components.evaluate import promotion


def metrics(
    auc: float | None = 0.9, recall: float | None = 0.9, interval: list[float] | None = None
) -> dict[str, float | list[float] | None]:
    interval = interval or [0.6, 0.95]
    return {"roc_auc": auc, "roc_auc_interval": interval, "tumor_recall": recall, "recall": 0.0, "accuracy_interval": [0.1, 0.2]}


def per_class(images: int = 10, groups: int = 5) -> dict[str, dict[str, int]]:
    return {"no_tumor": {"support": 30, "groups": 20}, "tumor": {"support": images, "groups": groups}}


def reasons_not_to_promote(measured: Any, champion: Any = None, **options: Any) -> list[str]:
    options = {"per_class": per_class(), "min_class_images": 10, **options}
    return promotion.reasons_not_to_promote(measured, champion=champion, **options)


def test_good_model_is_promoted() -> None:
    assert reasons_not_to_promote(metrics(), min_auc=0.7, min_recall=0.7) == []


def test_model_at_the_minimum_metrics_is_promoted() -> None:
    assert reasons_not_to_promote(metrics(0.7, 0.7), min_auc=0.7, min_recall=0.7) == []


@pytest.mark.parametrize(
    ("auc", "recall", "reasons"),
    [
        (0.61, 0.9, ["ROC-AUC is 0.610, below the minimum of 0.700."]),
        (0.9, 0.25, ["Tumour recall is 0.250, below the minimum of 0.700."]),
        (0.6999, 0.9, ["ROC-AUC is 0.699900, below the minimum of 0.700."]),
        (None, 0.9, ["ROC-AUC is undefined: the held-out test set needs images of every class; the minimum is 0.700."]),
        (0.9, None, ["Tumour recall is undefined: the held-out test set needs images with a tumour; the minimum is 0.700."]),
        (
            float("nan"),
            0.9,
            ["ROC-AUC is undefined: the held-out test set needs images of every class; the minimum is 0.700."],
        ),
    ],
)
def test_missed_minimum_is_a_reason(auc: float | None, recall: float | None, reasons: list[str]) -> None:
    assert reasons_not_to_promote(metrics(auc, recall), min_auc=0.7, min_recall=0.7) == reasons


def test_every_missed_minimum_is_a_reason() -> None:
    assert len(reasons_not_to_promote(metrics(0.1, None), min_auc=0.7, min_recall=0.7)) == 2


def test_minimums_of_zero_promote_any_defined_metrics() -> None:
    assert reasons_not_to_promote(metrics(0.0, 0.0), min_auc=0, min_recall=0) == []


@pytest.mark.parametrize(("share_below", "not_promoted"), [(0.94, False), (0.95, True), (1.0, True)])
def test_model_below_the_champion_with_95_percent_confidence_is_not_promoted(share_below: float, not_promoted: bool) -> None:
    champion = {"version": 3, "images": 40, "accuracy": 0.8, "champion_accuracy": 0.9, "share_below": share_below}
    assert bool(reasons_not_to_promote(metrics(), champion, min_auc=0.7, min_recall=0.7)) is not_promoted


def test_without_comparison_only_the_minimums_decide() -> None:
    for champion in (None, {"version": 3, "images": 4, "reason": "too few"}):
        assert reasons_not_to_promote(metrics(), champion, min_auc=0.7, min_recall=0.7) == []


def test_interval_of_the_auc_must_be_above_chance() -> None:
    for low in (0.3, 0.5):
        assert reasons_not_to_promote(metrics(interval=[low, 1.0]), min_auc=0.7, min_recall=0.7) == [
            f"The 95 % interval of the ROC-AUC is {low:.3f} to 1.000: its lower end is not above 0.5, which is chance."
        ]
    assert reasons_not_to_promote(metrics(interval=[0.501, 1.0]), min_auc=0.7, min_recall=0.7) == []
    (reason,) = reasons_not_to_promote(metrics() | {"roc_auc_interval": None}, min_auc=0.7, min_recall=0.7)
    assert reason.startswith("The 95 % interval of the ROC-AUC is undefined")


@pytest.mark.parametrize(("auc", "interval"), [(0.9, [0.1, 1.0]), (0.2, [0.1, 0.3]), (None, None)])
def test_without_a_minimum_auc_the_auc_does_not_matter(auc: float | None, interval: list[float] | None) -> None:
    found = metrics(auc) | {"roc_auc_interval": interval}
    assert reasons_not_to_promote(found, min_auc=0, min_recall=0.7) == []


@pytest.mark.parametrize(
    ("images", "groups", "lacks"),
    [(1, 1, "9 images and 4 groups"), (9, 5, "1 image"), (40, 4, "1 group"), (0, 0, "10 images and 5 groups")],
)
def test_class_with_too_few_held_out_images_is_the_first_reason(images: int, groups: int, lacks: str) -> None:
    few = per_class(images, groups)
    reasons = reasons_not_to_promote(metrics(auc=0.1), per_class=few, min_auc=0.7, min_recall=0.7)
    assert reasons[0] == (
        f"The held-out test set lacks {lacks} of tumor: it has {images} images in {groups} groups; "
        "min_class_images wants 10 images in 5 groups of every class."
    )
    assert len(reasons) == 2
    assert reasons_not_to_promote(metrics(), per_class=few, min_class_images=0, min_auc=0.7, min_recall=0.7) == []


def test_half_of_an_odd_number_of_images_is_rounded_up() -> None:
    for groups, promoted in ((1, False), (2, True)):
        reasons = reasons_not_to_promote(
            metrics(), per_class=per_class(3, groups), min_class_images=3, min_auc=0.7, min_recall=0.7
        )
        assert (reasons == []) is promoted


def test_champion_that_cannot_be_read_is_not_replaced_unless_allowed() -> None:
    champion = {"version": 3, "images": 0, "reason": "its files cannot be read: Is a directory", "unreadable": True}
    assert reasons_not_to_promote(metrics(), champion, min_auc=0.7, min_recall=0.7) == [
        "The champion, version 3, cannot be compared: its files cannot be read: Is a directory. Restore it, or replace it with "
        "--set allow_unreadable_champion=true."
    ]
    allowed = {"min_auc": 0.7, "min_recall": 0.7, "allow_unreadable_champion": True}
    assert reasons_not_to_promote(metrics(), champion, **allowed) == []
