from typing import Any

import numpy as np
import pytest

from components.architectures.evidence import EvidenceConfig
from components.decision import (
    Decision,
    class_probabilities,
    conformal_minimums,
    fit_decision,
    fit_temperature,
    highest_threshold,
    score_metrics,
)
from components.trained import CalibrationSet

BINARY = ["no_tumor", "tumor"]


def overconfident(count: int = 4000, factor: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Return scores that are `factor` times the true log-odds, and labels drawn from the true probabilities."""
    rng = np.random.default_rng(0)
    log_odds = rng.normal(0, 2, count)
    labels = (rng.random(count) < 1 / (1 + np.exp(-log_odds))).astype(int)
    return (factor * log_odds)[:, None].astype(np.float32), labels


def test_temperature_is_the_factor_of_overconfidence() -> None:
    scores, labels = overconfident(factor=3.0)
    assert fit_temperature(scores, labels) == pytest.approx(3.0, rel=0.1)
    rng = np.random.default_rng(1)
    log_probabilities = rng.normal(0, 2, (4000, 3))
    probabilities = class_probabilities(log_probabilities)
    drawn = (rng.random((4000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert fit_temperature(0.5 * log_probabilities, drawn) == pytest.approx(0.5, rel=0.1)


def test_class_probabilities_are_sigmoid_and_softmax() -> None:
    assert class_probabilities(np.array([[np.log(3.0)]])) == pytest.approx(np.array([[0.25, 0.75]]))
    assert class_probabilities(np.log([[1.0, 2.0, 5.0]])) == pytest.approx(np.array([[0.125, 0.25, 0.625]]))
    assert class_probabilities(np.array([[800.0]])) == pytest.approx(np.array([[0.0, 1.0]]))


def test_highest_threshold_keeps_the_sensitivity() -> None:
    tumors = np.arange(1, 21) / 21
    assert highest_threshold(tumors, 0.95) == pytest.approx(2 / 21, abs=1e-6)
    assert (tumors >= highest_threshold(tumors, 0.95)).mean() == 0.95
    assert (tumors >= highest_threshold(tumors, 0.96)).mean() == 1.0
    assert (tumors >= highest_threshold(tumors, 0.5)).mean() == 0.5


def test_conformal_minimum_leaves_out_the_error_of_each_class() -> None:
    labels = np.repeat([0, 1], [39, 10])
    own = np.concatenate([np.arange(1, 40) / 40, np.arange(1, 11) / 11])
    probabilities = np.where(labels[:, None] == [0, 1], own[:, None], 1 - own[:, None])
    # 5 % of 39 + 1 images are two: the second smallest probability is still in. Of 10 images the smallest is the limit.
    assert conformal_minimums(probabilities, labels) == pytest.approx([2 / 40, 1 / 11], abs=1e-6)
    assert conformal_minimums(probabilities[:39], labels[:39])[1] == 0


def test_error_of_few_images_is_what_they_allow() -> None:
    scores, labels = overconfident(30)
    few = CalibrationSet(scores, labels, "")
    _, about = fit_decision(few, BINARY, EvidenceConfig())
    assert about["conformal"]["error"] == pytest.approx(1 / (np.bincount(labels).min() + 1), abs=1e-6)


def test_scores_that_separate_the_classes_keep_a_finite_temperature() -> None:
    scores, labels = np.repeat([[-3.0], [3.0]], 50, axis=0), np.repeat([0, 1], 50)
    decision, _ = fit_decision(CalibrationSet(scores, labels, ""), BINARY, EvidenceConfig())
    # With Platt's targets the most likely probability of 50 tumours of 50 is 51 / 52.
    assert class_probabilities(scores / decision.temperature)[-1, 1] == pytest.approx(51 / 52, abs=1e-4)
    assert decision.threshold == 0.5  # not the highest with the sensitivity, 51 / 52


def test_conformal_sets_cover_new_images_of_each_class() -> None:
    scores, labels = overconfident(8000)
    probabilities = class_probabilities(scores)
    minimums = conformal_minimums(probabilities[:4000], labels[:4000])
    for index in (0, 1):
        new = probabilities[4000:][labels[4000:] == index, index]
        assert (new >= minimums[index]).mean() == pytest.approx(0.95, abs=0.015)


def decided(decision: Decision, score: list[list[float]]) -> dict[str, np.ndarray]:
    import tensorflow as tf

    return {name: value.numpy() for name, value in decision.outputs(tf.constant(score, tf.float32)).items()}


def test_binary_outputs_apply_temperature_threshold_and_conformal_sets() -> None:
    decision = Decision(("no_tumor", "tumor"), temperature=2.0, threshold=0.3, min_probability=np.array([0.4, 0.3], np.float32))
    outputs = decided(decision, [[0.0], [-1.5], [-4.0], [4.0], [-2.0]])
    assert outputs["probability"][:, 0] == pytest.approx([0.5, 0.320821, 0.119203, 0.880797, 0.268941], abs=1e-6)
    assert outputs["label"].astype(str).tolist() == ["tumor", "tumor", "no_tumor", "tumor", "no_tumor"]
    # At 0.5 and 0.32 both classes are in the set; below 0.3 only no_tumor, above 0.6 only tumor.
    assert outputs["uncertain"].tolist() == [True, True, False, False, False]


def test_image_whose_conformal_set_is_empty_or_another_class_is_uncertain() -> None:
    empty = Decision(("no_tumor", "tumor"), temperature=1.0, threshold=0.5, min_probability=np.array([0.9, 0.9], np.float32))
    assert decided(empty, [[0.0], [5.0]])["uncertain"].tolist() == [True, False]
    other = Decision(("no_tumor", "tumor"), temperature=1.0, threshold=0.5, min_probability=np.array([0.1, 0.95], np.float32))
    outputs = decided(other, [[2.0]])
    assert outputs["label"].astype(str).tolist() == ["tumor"]
    assert outputs["uncertain"].tolist() == [True]


def test_boundary_is_the_score_of_the_threshold_or_of_the_second_class() -> None:
    import tensorflow as tf

    binary = Decision(("no_tumor", "tumor"), temperature=2.0, threshold=0.3, min_probability=np.zeros(2, np.float32))
    index, boundary = binary.decide(tf.constant([[-1.0], [-2.0]]))
    assert index.numpy().tolist() == [1, 0]
    assert boundary.numpy() == pytest.approx([2 * np.log(0.3 / 0.7)] * 2)
    three = Decision(("a", "b", "c"), temperature=2.0, threshold=None, min_probability=np.zeros(3, np.float32))
    index, boundary = three.decide(tf.constant([[1.0, 3.0, 2.5]]))
    assert (index.numpy().tolist(), boundary.numpy().tolist()) == ([1], [2.5])


@pytest.mark.parametrize(("threshold", "rule"), [("auto", "auto"), (0.4, "fixed")])
def test_fitted_decision_is_described_for_the_model_card(threshold: Any, rule: str) -> None:
    scores, labels = overconfident()
    calibration = CalibrationSet(scores, labels, "4000 drawn images")
    decision, about = fit_decision(calibration, BINARY, EvidenceConfig(threshold=threshold))
    assert about["temperature"] == {"value": pytest.approx(decision.temperature, abs=1e-6), "fitted_on": "4000 drawn images"}
    assert about["threshold"]["rule"] == rule
    assert about["threshold"]["value"] == decision.threshold
    assert about["conformal"]["error"] == 0.05
    assert list(about["conformal"]["min_probability"]) == BINARY
    tumor_probabilities = class_probabilities(scores / decision.temperature)[labels == 1, 1]
    if rule == "auto":
        assert (tumor_probabilities >= decision.threshold).mean() == pytest.approx(0.95, abs=0.001)
        assert about["threshold"]["fitted_on"] == "4000 drawn images"
    else:
        assert (decision.threshold, about["threshold"]["sensitivity"], about["threshold"]["fitted_on"]) == (0.4, None, None)


def test_more_classes_have_no_threshold() -> None:
    rng = np.random.default_rng(0)
    calibration = CalibrationSet(rng.normal(size=(90, 3)).astype(np.float32), np.arange(90) % 3, "")
    decision, about = fit_decision(calibration, ["a", "b", "c"], EvidenceConfig())
    assert decision.threshold is None
    assert about["threshold"]["value"] is None


def test_score_metrics_of_two_and_more_classes() -> None:
    metrics = score_metrics(np.array([[2.0], [-1.0], [1.0], [-3.0]]), np.array([1, 1, 0, 0]))
    assert metrics["accuracy"] == metrics["precision"] == metrics["recall"] == 0.5
    assert metrics["auc"] == 0.75
    assert metrics["loss"] == pytest.approx(np.mean(np.logaddexp(0, [-2.0, 1.0, 1.0, -3.0])))
    metrics = score_metrics(np.eye(3) * 5, np.array([0, 1, 2]))
    assert (metrics["accuracy"], metrics["auc"]) == (1.0, 1.0)
