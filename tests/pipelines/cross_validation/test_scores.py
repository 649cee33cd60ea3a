import numpy as np
import pytest

from pipelines.cross_validation.scores import Scored, calibration_slope, scores_of
from pipelines.cross_validation.training import Outputs

BINARY = ["no_tumor", "tumor"]
IS_TUMOR = np.array([False, True])


def outputs(tumor: list[float], **changes: np.ndarray) -> Outputs:
    probability = np.stack([1 - np.array(tumor), np.array(tumor)], axis=1)
    return Outputs(**vars(Outputs.of_probabilities(probability)) | changes)


def test_scores_by_hand() -> None:
    given = outputs(
        [0.9, 0.4, 0.2, 0.6],
        predicted=np.array([1, 1, 0, 1]),
        in_distribution=np.array([0.9, 0.6, 0.4, 0.8]),
        uncertain=np.array([False, True, False, False]),
        minimum=np.tile([0.3, 0.5], (4, 1)),
    )
    scores = scores_of([given], np.array([1, 1, 0, 0]), np.arange(4), BINARY, IS_TUMOR)
    means = {name: score["mean"] for name, score in scores.items()}
    assert means["accuracy"] == 0.75
    assert means["accuracy_at_half"] == 0.5
    assert means["auc"] == 0.75
    assert (means["sensitivity"], means["specificity"]) == (1.0, 0.5)
    assert (means["sensitivity_at_half"], means["specificity_at_half"]) == (0.5, 0.5)
    assert means["brier"] == pytest.approx(np.mean([0.01, 0.36, 0.04, 0.36]))
    assert means["uncertain"] == 0.25
    assert means["accuracy_if_certain"] == pytest.approx(2 / 3)
    assert means["unlike_training"] == 0.25
    assert means["coverage_tumor"] == 0.5
    assert means["coverage_no_tumor"] == 1.0


def test_brier_before_the_temperature_is_that_of_the_raw_score() -> None:
    raw = 1 / (1 + np.exp(-4.0))
    given = outputs([1 / (1 + np.exp(-2.0))], temperature=np.array([2.0]))
    scores = scores_of([given], np.array([1]), np.arange(1), BINARY, IS_TUMOR, ["brier", "brier_before_temperature"])
    assert scores["brier_before_temperature"]["mean"] == pytest.approx((1 - raw) ** 2)


def test_undefined_score_is_left_out() -> None:
    scores = scores_of(
        [outputs([0.9, 0.8])], np.array([1, 1]), np.arange(2), BINARY, IS_TUMOR, ["auc", "specificity", "sensitivity"]
    )
    assert list(scores) == ["sensitivity"]


def test_interval_is_wider_where_images_are_copies() -> None:
    rng = np.random.default_rng(0)
    tumor, labels = rng.random(200), rng.integers(0, 2, 200)
    alone = scores_of([outputs(tumor.tolist())], labels, np.arange(200), BINARY, IS_TUMOR, ["accuracy"])["accuracy"]
    copies = scores_of(
        [outputs(np.repeat(tumor[:20], 10).tolist())],
        np.repeat(labels[:20], 10),
        np.repeat(np.arange(20), 10),
        BINARY,
        IS_TUMOR,
        ["accuracy"],
    )["accuracy"]
    assert np.ptp(copies["interval"]) > 2 * np.ptp(alone["interval"])


def test_calibration_slope_of_overconfident_probabilities_is_below_1() -> None:
    rng = np.random.default_rng(0)
    log_odds = rng.normal(0, 2, 5000)
    labels = (rng.random(5000) < 1 / (1 + np.exp(-log_odds))).astype(int)
    for factor in (1.0, 2.0):
        given = outputs((1 / (1 + np.exp(-factor * log_odds))).tolist())
        assert calibration_slope(Scored(given, labels, IS_TUMOR), np.ones(5000)) == pytest.approx(1 / factor, abs=0.06)


def test_outputs_of_folds_are_put_back_in_order() -> None:
    joined = Outputs.join([outputs([0.1, 0.3]), outputs([0.2])], [np.array([0, 2]), np.array([1])])
    assert joined.probability[:, 1] == pytest.approx([0.1, 0.2, 0.3])
