"""The figures of merit against hand counts and independent formulas."""

import math

import numpy as np
import pytest

from components.evaluate.metrics import accuracy_interval, calibration_bins, calibration_error, compute_metrics, roc_points
from components.evaluate.predictions import Predictions

BINARY = ("no_tumor", "tumor")
FOUR = ("glioma", "meningioma", "no_tumor", "pituitary")


def of_two(labels: list[int], scores: list[float]) -> Predictions:
    """Predictions of a binary model with threshold 0.5, each image a group of its own."""
    tumor = np.array(scores, dtype=float)
    truth, predicted = np.array(labels, dtype=int), (tumor >= 0.5).astype(int)
    probabilities = np.stack([1 - tumor, tumor], axis=1)
    return Predictions(BINARY, ("tumor",), truth, predicted, probabilities, np.arange(len(truth)))


def of_four(labels: list[int], predicted: list[int]) -> Predictions:
    """Predictions above two classes: 0.7 for the called class, 0.1 for each other."""
    probabilities = np.full((len(predicted), 4), 0.1)
    probabilities[np.arange(len(predicted)), predicted] = 0.7
    tumors = ("glioma", "meningioma", "pituitary")
    return Predictions(FOUR, tumors, np.array(labels), np.array(predicted), probabilities, np.arange(len(labels)))


def pairs_won(labels: list[int], scores: list[float]) -> float:
    """The share of pairs of a positive and a negative in which the positive scores higher; a tie counts half."""
    positives = [score for label, score in zip(labels, scores, strict=True) if label]
    negatives = [score for label, score in zip(labels, scores, strict=True) if not label]
    return sum((p > n) + (p == n) / 2 for p in positives for n in negatives) / (len(positives) * len(negatives))


def test_binary_figures_by_hand() -> None:
    figures = compute_metrics(of_two([1, 1, 1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.7, 0.6, 0.2, 0.1, 0.3, 0.7]), seed=0)

    metrics = figures["metrics"]
    assert figures["confusion"] == [[2, 1], [1, 4]]
    assert metrics["accuracy"] == 6 / 8
    assert metrics["precision"] == 4 / 5
    assert metrics["recall"] == metrics["tumor_recall"] == 4 / 5
    assert metrics["specificity"] == pytest.approx(2 / 3, abs=1e-6)
    assert metrics["f1"] == pytest.approx(2 * 4 / (2 * 4 + 1 + 1))
    assert metrics["brier"] == pytest.approx(sum([0.01, 0.04, 0.09, 0.16, 0.64, 0.01, 0.09, 0.49]) / 8)
    assert figures["per_class"]["no_tumor"] == {"precision": 0.666667, "recall": 0.666667, "f1": 0.666667, "support": 3}


@pytest.mark.parametrize(
    ("labels", "scores", "area"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 1.0),
        ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9], 0.0),
        ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], 0.5),
        ([0, 1, 0, 1], [0.1, 0.3, 0.6, 0.8], 0.75),
    ],
)
def test_area_of_known_rankings(labels: list[int], scores: list[float], area: float) -> None:
    assert compute_metrics(of_two(labels, scores), seed=0)["metrics"]["roc_auc"] == area == pairs_won(labels, scores)


def test_area_is_the_share_of_pairs_won_and_precision_is_averaged_over_the_positives() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(60) < 0.4).astype(int).tolist()
    scores = np.clip(np.array(labels) * 0.2 + rng.random(60) * 0.8, 0, 1).tolist()

    metrics = compute_metrics(of_two(labels, scores), seed=0)["metrics"]

    assert metrics["roc_auc"] == pytest.approx(pairs_won(labels, scores), abs=1e-6)
    ranked = [label for _, label in sorted(zip(scores, labels, strict=True), reverse=True)]
    precisions = [sum(ranked[: i + 1]) / (i + 1) for i, label in enumerate(ranked) if label]
    assert metrics["pr_auc"] == pytest.approx(sum(precisions) / len(precisions), abs=1e-6)


def test_roc_is_finite_short_and_holds_the_area() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(3000) < 0.5
    scores = np.clip(truth * 0.3 + rng.random(3000) * 0.7, 0, 1)

    curve = roc_points(truth, scores)

    assert len(curve["fpr"]) == len(curve["tpr"]) == len(curve["thresholds"]) == 200
    assert all(0 <= value <= 1 for values in curve.values() for value in values)
    assert (curve["fpr"][0], curve["tpr"][0]) == (0, 0)
    assert (curve["fpr"][-1], curve["tpr"][-1]) == (1, 1)
    ranks = scores.argsort().argsort() + 1  # Mann and Whitney's U
    area = (ranks[truth].sum() - truth.sum() * (truth.sum() + 1) / 2) / (truth.sum() * (~truth).sum())
    assert np.trapezoid(curve["tpr"], curve["fpr"]) == pytest.approx(area, abs=2e-3)


def test_interval_is_that_of_the_binomial_where_groups_are_single() -> None:
    right = np.arange(200) % 5 != 0

    low, high = accuracy_interval(right, np.arange(200), seed=0) or []

    half = 1.96 * math.sqrt(0.8 * 0.2 / 200)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.012)


def test_copies_in_one_group_widen_the_interval() -> None:
    right = np.repeat(np.arange(40) % 5 != 0, 5)
    single = accuracy_interval(right, np.arange(200), seed=0) or []
    grouped = accuracy_interval(right, np.repeat(np.arange(40), 5), seed=0) or []

    assert grouped[0] < single[0] < 0.8 < single[1] < grouped[1]
    assert grouped[1] - grouped[0] == pytest.approx(math.sqrt(5) * (single[1] - single[0]), rel=0.1)


def test_interval_is_that_of_drawing_the_groups_one_by_one() -> None:
    """The multinomial shortcut against the plain bootstrap, with groups of unequal size."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), rng.integers(1, 7, 30))
    right = rng.random(len(groups)) < 0.7
    members = [right[groups == group] for group in range(30)]
    plain = [np.concatenate([members[i] for i in rng.integers(0, 30, 30)]).mean() for _ in range(2000)]

    assert accuracy_interval(right, groups, seed=0) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.015)


def test_interval_follows_its_seed() -> None:
    groups = np.repeat(np.arange(60), np.arange(60) % 7 + 1)
    right = np.arange(len(groups)) % 3 != 0
    assert accuracy_interval(right, groups, seed=4) == accuracy_interval(right, groups, seed=4)
    assert accuracy_interval(right, groups, seed=4) != accuracy_interval(right, groups, seed=5)


def test_calibration_error_by_hand() -> None:
    predicted = np.array([0.9] * 10 + [0.2] * 30)
    observed = np.array([True] * 8 + [False] * 2 + [True] * 9 + [False] * 21)

    bins = calibration_bins(predicted, observed)

    assert [point["count"] for point in bins] == [30, 10]
    assert [point["observed"] for point in bins] == pytest.approx([0.3, 0.8])
    assert calibration_error(bins) == pytest.approx((30 * 0.1 + 10 * 0.1) / 40)


def test_certain_predictions_have_a_bin() -> None:
    assert [point["count"] for point in calibration_bins(np.array([0.0, 1.0, 1.0]), np.array([False, True, True]))] == [1, 2]


def test_four_classes_are_averaged() -> None:
    figures = compute_metrics(of_four([0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 1, 1, 2, 0, 3, 2]), seed=0)

    metrics = figures["metrics"]
    assert figures["confusion"] == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]]
    assert metrics["recall"] == pytest.approx((1 / 2 + 1 + 1 / 2 + 1 / 2) / 4)
    assert metrics["precision"] == pytest.approx((1 / 2 + 2 / 3 + 1 / 2 + 1) / 4, abs=1e-6)
    assert metrics["tumor_recall"] == pytest.approx(5 / 6, abs=1e-6)  # glioma called meningioma is still a tumour
    assert metrics["specificity"] == 1 / 2
    assert metrics["brier"] == pytest.approx((5 * (0.3**2 + 3 * 0.1**2) + 3 * (0.7**2 + 0.9**2 + 2 * 0.1**2)) / 8)
    assert metrics["ece"] == pytest.approx(abs(0.7 - 5 / 8))
    # One-vs-rest with two scores: a hit beats the rest not called so, and ties with what is called so as well.
    areas = [
        pairs_won([label == c for label in [0, 0, 1, 1, 2, 2, 3, 3]], [c == k for k in [0, 1, 1, 1, 2, 0, 3, 2]])
        for c in range(4)
    ]
    assert metrics["roc_auc"] == pytest.approx(sum(areas) / 4, abs=1e-6)
    assert list(figures["roc"]) == list(FOUR)


def test_a_class_never_called_leaves_the_mean_precision_undefined() -> None:
    figures = compute_metrics(of_four([0, 1, 2, 3], [1, 1, 2, 3]), seed=0)
    assert figures["per_class"]["glioma"] == {"precision": None, "recall": 0.0, "f1": 0.0, "support": 1}
    assert figures["metrics"]["precision"] is None
    assert figures["metrics"]["recall"] == 0.75


def test_one_class_only() -> None:
    figures = compute_metrics(of_two([0, 0, 0], [0.1, 0.2, 0.9]), seed=0)

    metrics = figures["metrics"]
    assert metrics["accuracy"] == metrics["specificity"] == pytest.approx(2 / 3, abs=1e-6)
    assert {metrics[name] for name in ("roc_auc", "pr_auc", "recall", "tumor_recall")} == {None}
    assert figures["roc"] == {"fpr": [], "tpr": [], "thresholds": []}


def test_no_image_at_all() -> None:
    figures = compute_metrics(of_two([], []), seed=0)
    assert set(figures["metrics"].values()) == {None}
    assert figures["confusion"] == [[0, 0], [0, 0]]
    assert figures["calibration"] == []


def test_without_a_healthy_class_the_tumour_recall_is_the_mean_recall() -> None:
    two = of_two([0, 0, 1, 1], [0.1, 0.9, 0.8, 0.7])
    both_tumors = Predictions(
        ("glioma", "pituitary"), ("glioma", "pituitary"), two.labels, two.predicted, two.probabilities, two.groups
    )
    metrics = compute_metrics(both_tumors, seed=0)["metrics"]
    assert metrics["specificity"] is None
    assert metrics["tumor_recall"] == 0.75
