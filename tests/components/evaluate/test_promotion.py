import pytest

from components.evaluate.promotion import reasons_not_to_promote


def metrics(auc: float | None = 0.9, recall: float | None = 0.9) -> dict[str, float | list[float] | None]:
    return {"roc_auc": auc, "tumor_recall": recall, "recall": 0.0, "accuracy_interval": [0.1, 0.2]}


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
