import math

import numpy as np
import pytest

from components.dataset import Sample
from components.evaluate.doubt import (
    calibration_line,
    calibration_line_with_interval,
    conformal_coverage,
    measure_doubt,
    without_temperature,
)
from components.evaluate.predict import InferenceResults, StoredHeatmaps
from components.evaluate.predictions import Predictions


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def two_probabilities(count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return 20 images, times `count`: of a probability of 0.2, 4 of 10 are events; of 0.8, 7 of 10."""
    probabilities = np.repeat([0.2, 0.8], 10)
    truth = np.array([True] * 4 + [False] * 6 + [True] * 7 + [False] * 3)
    return np.tile(probabilities, count), np.tile(truth, count)


def test_temperature_is_undone() -> None:
    served = np.array([[1 - sigmoid(1.2 / 2.5), sigmoid(1.2 / 2.5)]])
    assert without_temperature(served, 2.5)[0, 1] == pytest.approx(sigmoid(1.2))
    scores = np.array([[1.0, 2.0, -0.5]])
    served, before = (np.exp(each) / np.exp(each).sum() for each in (scores / 0.4, scores))
    np.testing.assert_allclose(without_temperature(served, 0.4), before)
    np.testing.assert_allclose(without_temperature(np.array([[0.0, 1.0]]), 1.5), [[0, 1]], atol=1e-9)


def test_coverage_counts_true_classes_at_their_minimum() -> None:
    probabilities = np.array([[0.9, 0.1, 0], [0.3, 0.7, 0], [0.2, 0.8, 0], [0.5, 0.5, 0]])
    coverage = conformal_coverage(probabilities, np.array([0, 0, 1, 1]), np.array([0.3, 0.6, 0.1]))
    np.testing.assert_array_equal(coverage, [1, 0.5, math.nan])


def test_calibration_line_goes_through_the_observed_frequencies() -> None:
    line = calibration_line(*two_probabilities())
    slope = (logit(0.7) - logit(0.4)) / (logit(0.8) - logit(0.2))
    assert line == pytest.approx((slope, logit(0.4) - slope * logit(0.2)), abs=1e-4)


def test_weight_counts_an_image_several_times() -> None:
    probabilities, truth = two_probabilities()
    weights = np.arange(20) % 3
    repeated = np.repeat(np.arange(20), weights)
    assert calibration_line(probabilities, truth, weights) == pytest.approx(
        calibration_line(probabilities[repeated], truth[repeated]), abs=1e-4
    )


@pytest.mark.parametrize("truth", [[False, False, True, True], [True, True, False, False], [True] * 4, [False] * 4])
def test_separated_events_have_no_line(truth: list[bool]) -> None:
    assert calibration_line(np.array([0.0, 0.4, 0.6, 1.0]), np.array(truth)) is None


def test_interval_of_the_line_is_that_of_a_well_calibrated_model() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(400)
    truth = rng.random(400) < probabilities

    result = calibration_line_with_interval(probabilities, truth, np.arange(400), seed=0, resamples=200)
    same = calibration_line_with_interval(probabilities, truth, np.arange(400), seed=0, resamples=200)
    grouped = calibration_line_with_interval(
        np.repeat(probabilities, 2), np.repeat(truth, 2), np.repeat(np.arange(400), 2), seed=0, resamples=200
    )

    assert result is not None
    assert result == same
    assert grouped is not None
    for name in ("slope", "intercept"):  # near copies add nothing
        assert grouped[name]["value"] == pytest.approx(result[name]["value"], abs=1e-3)
        assert grouped[name]["interval"] == pytest.approx(result[name]["interval"], abs=1e-3)
    slope, intercept = result["slope"], result["intercept"]
    assert slope["interval"][0] < 1 < slope["interval"][1]
    assert intercept["interval"][0] < 0 < intercept["interval"][1]
    assert slope["interval"][0] < slope["value"] < slope["interval"][1]


def test_interval_needs_groups_and_resamples_with_a_line() -> None:
    probabilities, truth = two_probabilities()
    one_group = calibration_line_with_interval(probabilities, truth, np.zeros(20), seed=0)
    assert one_group is not None
    assert one_group["slope"]["interval"] is None
    nearly_separated = np.array([0.1, 0.2, 0.3, 0.7, 0.6, 0.8, 0.9])
    few = calibration_line_with_interval(nearly_separated, np.arange(7) > 2, np.arange(7), seed=0)
    assert few is None
    few = calibration_line_with_interval(nearly_separated, np.arange(7) > 3, np.arange(7), seed=0)
    assert few is not None
    assert few["intercept"]["interval"] is None


def results(labels: list[int], tumor: list[float], uncertain: list[bool], in_distribution: list[float]) -> InferenceResults:
    scores = np.array(tumor)
    predictions = Predictions(
        classes=("no_tumor", "tumor"),
        tumor_classes=("tumor",),
        labels=np.array(labels, int),
        predicted_labels=(scores >= 0.5).astype(int),
        probabilities=np.stack([1 - scores, scores], axis=1),
        groups=np.arange(len(labels)),
    )
    samples = [Sample(str(i), i, "", "test") for i in range(len(labels))]
    size = np.zeros(len(labels))
    return InferenceResults(
        samples, predictions, StoredHeatmaps(), np.array(in_distribution), np.array(uncertain, bool), size, size
    )


CALIBRATION = {"temperature": {"value": 2.0}, "conformal": {"min_probability": {"tumor": 0.4, "no_tumor": 0.3}}}


def test_doubt_of_five_images_matches_hand_counts() -> None:
    doubt = measure_doubt(
        results([1, 1, 0, 0, 0], [0.9, 0.3, 0.2, 0.6, 0.8], [False, True, False, True, False], [0.9, 0.5, 0.49, 1, 0.1]),
        CALIBRATION,
        seed=0,
    )
    assert doubt is not None
    assert doubt["unlike_training"] == 2 / 5
    assert doubt["uncertain"] == 2 / 5
    assert doubt["certain"] == {"images": 3, "accuracy": pytest.approx(2 / 3)}
    assert doubt["coverage"] == {"no_tumor": pytest.approx(2 / 3), "tumor": 0.5}
    assert doubt["brier"]["with_temperature"] == pytest.approx((0.01 + 0.49 + 0.04 + 0.36 + 0.64) / 5)
    unscaled = [sigmoid(2 * logit(probability)) for probability in (0.9, 0.3, 0.2, 0.6, 0.8)]
    squares = [(p - truth) ** 2 for p, truth in zip(unscaled, [1, 1, 0, 0, 0], strict=True)]
    assert doubt["brier"]["without_temperature"] == pytest.approx(sum(squares) / 5)
    assert set(doubt["calibration_line"]) == {"slope", "intercept"}


def test_doubt_of_three_classes_is_that_of_any_tumour() -> None:
    probabilities = np.array([[0.3, 0.5, 0.2], [0.1, 0.6, 0.3], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]])
    labels = np.array([0, 1, 1, 2])
    predictions = Predictions(
        ("glioma", "no_tumor", "pituitary"), ("glioma", "pituitary"), labels, probabilities.argmax(axis=1), probabilities, labels
    )
    samples = [Sample(str(i), i, "", "test") for i in range(4)]
    marks = InferenceResults(samples, predictions, StoredHeatmaps(), np.ones(4), np.zeros(4, bool), np.zeros(4), np.zeros(4))
    minimums = {"glioma": 0.6, "no_tumor": 0.5, "pituitary": 0.1}

    doubt = measure_doubt(marks, {"temperature": {"value": 1.0}, "conformal": {"min_probability": minimums}}, seed=0)

    assert doubt is not None
    assert doubt["coverage"] == {"glioma": 0, "no_tumor": 0.5, "pituitary": 1}
    assert doubt["brier"]["without_temperature"] == pytest.approx(doubt["brier"]["with_temperature"])
    line = calibration_line(np.array([0.5, 0.4, 0.6, 0.9]), np.array([True, False, False, True]))
    assert line is not None
    assert [doubt["calibration_line"][name]["value"] for name in ("slope", "intercept")] == pytest.approx(line)


def test_model_without_calibration_or_images_has_no_doubt() -> None:
    assert measure_doubt(results([1, 0], [0.9, 0.1], [False, False], [1, 1]), None, seed=0) is None
    assert measure_doubt(results([], [], [], []), CALIBRATION, seed=0) is None
