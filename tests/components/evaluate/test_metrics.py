"""Metrics against hand counts and independent formulas."""

import numpy as np
import pytest

from components.evaluate.metrics import compute_metrics, roc_points
from components.evaluate.predictions import Predictions

BINARY = ("no_tumor", "tumor")
FOUR = ("glioma", "meningioma", "no_tumor", "pituitary")


def binary_predictions(labels: list[int], scores: list[float]) -> Predictions:
    """Return predictions of a binary model with threshold 0.5; each image is its own group."""
    tumor = np.array(scores, dtype=float)
    truth, predicted = np.array(labels, dtype=int), (tumor >= 0.5).astype(int)
    probabilities = np.stack([1 - tumor, tumor], axis=1)
    return Predictions(BINARY, ("tumor",), truth, predicted, probabilities, np.arange(len(truth)))


def four_class_predictions(labels: list[int], predicted: list[int]) -> Predictions:
    """Return predictions of a four-class model: 0.7 for the predicted class, 0.1 for each other."""
    probabilities = np.full((len(predicted), 4), 0.1)
    probabilities[np.arange(len(predicted)), predicted] = 0.7
    tumors = ("glioma", "meningioma", "pituitary")
    return Predictions(FOUR, tumors, np.array(labels), np.array(predicted), probabilities, np.arange(len(labels)))


def pairs_won(labels: list[int], scores: list[float]) -> float:
    """Return the fraction of positive-negative pairs in which the positive scores higher; a tie counts half."""
    positives = [score for label, score in zip(labels, scores, strict=True) if label]
    negatives = [score for label, score in zip(labels, scores, strict=True) if not label]
    return sum((p > n) + (p == n) / 2 for p in positives for n in negatives) / (len(positives) * len(negatives))


def test_binary_metrics_match_hand_counts() -> None:
    result = compute_metrics(binary_predictions([1, 1, 1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.7, 0.6, 0.2, 0.1, 0.3, 0.7]), seed=0)

    metrics = result["metrics"]
    assert result["confusion"] == [[2, 1], [1, 4]]
    assert metrics["accuracy"] == 6 / 8
    assert metrics["precision"] == 4 / 5
    assert metrics["recall"] == metrics["tumor_recall"] == 4 / 5
    assert metrics["specificity"] == pytest.approx(2 / 3, abs=1e-6)
    assert metrics["f1"] == pytest.approx(2 * 4 / (2 * 4 + 1 + 1))
    assert metrics["brier"] == pytest.approx(sum([0.01, 0.04, 0.09, 0.16, 0.64, 0.01, 0.09, 0.49]) / 8)
    assert result["per_class"]["no_tumor"] == {"precision": 0.666667, "recall": 0.666667, "f1": 0.666667, "support": 3}


@pytest.mark.parametrize(
    ("labels", "scores", "area"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 1.0),
        ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9], 0.0),
        ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], 0.5),
        ([0, 1, 0, 1], [0.1, 0.3, 0.6, 0.8], 0.75),
    ],
)
def test_roc_auc_of_known_rankings_is_exact(labels: list[int], scores: list[float], area: float) -> None:
    assert compute_metrics(binary_predictions(labels, scores), seed=0)["metrics"]["roc_auc"] == area == pairs_won(labels, scores)


def test_roc_auc_is_the_fraction_of_pairs_won_and_pr_auc_the_average_precision() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(60) < 0.4).astype(int).tolist()
    scores = np.clip(np.array(labels) * 0.2 + rng.random(60) * 0.8, 0, 1).tolist()

    metrics = compute_metrics(binary_predictions(labels, scores), seed=0)["metrics"]

    assert metrics["roc_auc"] == pytest.approx(pairs_won(labels, scores), abs=1e-6)
    ranked = [label for _, label in sorted(zip(scores, labels, strict=True), reverse=True)]
    precisions = [sum(ranked[: i + 1]) / (i + 1) for i, label in enumerate(ranked) if label]
    assert metrics["pr_auc"] == pytest.approx(sum(precisions) / len(precisions), abs=1e-6)


def test_roc_curve_is_finite_and_short_and_keeps_its_area() -> None:
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


def test_metrics_of_four_classes_are_averaged() -> None:
    result = compute_metrics(four_class_predictions([0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 1, 1, 2, 0, 3, 2]), seed=0)

    metrics = result["metrics"]
    assert result["confusion"] == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]]
    assert metrics["recall"] == pytest.approx((1 / 2 + 1 + 1 / 2 + 1 / 2) / 4)
    assert metrics["precision"] == pytest.approx((1 / 2 + 2 / 3 + 1 / 2 + 1) / 4, abs=1e-6)
    assert metrics["tumor_recall"] == pytest.approx(5 / 6, abs=1e-6)  # glioma predicted as meningioma is still a tumour
    assert metrics["specificity"] == 1 / 2
    assert metrics["brier"] == pytest.approx((5 * (0.3**2 + 3 * 0.1**2) + 3 * (0.7**2 + 0.9**2 + 2 * 0.1**2)) / 8)
    assert metrics["ece"] == pytest.approx(abs(0.7 - 5 / 8))
    # One-vs-rest with two scores: images predicted as the class score above all others and tie with each other.
    areas = [
        pairs_won([label == c for label in [0, 0, 1, 1, 2, 2, 3, 3]], [c == k for k in [0, 1, 1, 1, 2, 0, 3, 2]])
        for c in range(4)
    ]
    assert metrics["roc_auc"] == pytest.approx(sum(areas) / 4, abs=1e-6)
    assert list(result["roc"]) == list(FOUR)


def test_class_never_predicted_makes_the_mean_precision_undefined() -> None:
    result = compute_metrics(four_class_predictions([0, 1, 2, 3], [1, 1, 2, 3]), seed=0)
    assert result["per_class"]["glioma"] == {"precision": None, "recall": 0.0, "f1": 0.0, "support": 1}
    assert result["metrics"]["precision"] is None
    assert result["metrics"]["recall"] == 0.75


def test_ranking_metrics_of_one_class_are_undefined() -> None:
    result = compute_metrics(binary_predictions([0, 0, 0], [0.1, 0.2, 0.9]), seed=0)

    metrics = result["metrics"]
    assert metrics["accuracy"] == metrics["specificity"] == pytest.approx(2 / 3, abs=1e-6)
    assert {metrics[name] for name in ("roc_auc", "pr_auc", "recall", "tumor_recall")} == {None}
    assert result["roc"] == {"fpr": [], "tpr": [], "thresholds": []}


def test_metrics_without_images_are_undefined() -> None:
    result = compute_metrics(binary_predictions([], []), seed=0)
    assert set(result["metrics"].values()) == {None}
    assert result["confusion"] == [[0, 0], [0, 0]]
    assert result["calibration"] == []


def test_tumour_recall_without_healthy_class_is_the_mean_recall() -> None:
    binary = binary_predictions([0, 0, 1, 1], [0.1, 0.9, 0.8, 0.7])
    both_tumors = Predictions(
        ("glioma", "pituitary"),
        ("glioma", "pituitary"),
        binary.labels,
        binary.predicted_labels,
        binary.probabilities,
        binary.groups,
    )
    metrics = compute_metrics(both_tumors, seed=0)["metrics"]
    assert metrics["specificity"] is None
    assert metrics["tumor_recall"] == 0.75
