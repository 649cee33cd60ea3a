import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from components.evaluate.bootstrap import accuracy_interval, auc_interval, resample_weights, weighted_auc


def test_interval_of_single_image_groups_matches_the_binomial() -> None:
    is_correct = np.arange(200) % 5 != 0

    low, high = accuracy_interval(is_correct, np.arange(200), seed=0) or []

    half = 1.96 * math.sqrt(0.8 * 0.2 / 200)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.012)


def test_near_copies_in_one_group_widen_the_interval() -> None:
    is_correct = np.repeat(np.arange(40) % 5 != 0, 5)
    single = accuracy_interval(is_correct, np.arange(200), seed=0) or []
    grouped = accuracy_interval(is_correct, np.repeat(np.arange(40), 5), seed=0) or []

    assert grouped[0] < single[0] < 0.8 < single[1] < grouped[1]
    assert grouped[1] - grouped[0] == pytest.approx(math.sqrt(5) * (single[1] - single[0]), rel=0.1)


def test_interval_matches_the_plain_group_bootstrap() -> None:
    """The multinomial draw agrees with the plain bootstrap for groups of unequal size."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), rng.integers(1, 7, 30))
    is_correct = rng.random(len(groups)) < 0.7
    members = [is_correct[groups == group] for group in range(30)]
    plain = [np.concatenate([members[i] for i in rng.integers(0, 30, 30)]).mean() for _ in range(2000)]

    assert accuracy_interval(is_correct, groups, seed=0) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.015)


def test_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    groups = np.repeat(np.arange(60), np.arange(60) % 7 + 1)
    is_correct = np.arange(len(groups)) % 3 != 0
    assert accuracy_interval(is_correct, groups, seed=4) == accuracy_interval(is_correct, groups, seed=4)
    assert accuracy_interval(is_correct, groups, seed=4) != accuracy_interval(is_correct, groups, seed=5)


def test_weighted_auc_equals_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    truth, scores = rng.random(80) < 0.4, rng.integers(0, 12, 80) / 12  # many equal scores
    weights = rng.integers(0, 4, 80)

    assert weighted_auc(truth, scores, weights) == pytest.approx(roc_auc_score(truth, scores, sample_weight=weights))
    assert weighted_auc(truth, scores, np.ones(80)) == pytest.approx(roc_auc_score(truth, scores))


def test_weighted_auc_of_one_class_is_undefined() -> None:
    assert math.isnan(weighted_auc(np.array([True, False]), np.array([0.9, 0.1]), np.array([3, 0])))


def test_auc_interval_agrees_with_scikit_learn_and_leaves_out_draws_without_every_class() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(12), 3)
    labels = rng.integers(0, 3, 12)[groups]
    truth = np.eye(3, dtype=bool)[labels]
    scores = (truth * 0.3 + rng.random((36, 3))).round(1)  # with ties
    expected = []
    for weights in resample_weights(groups, seed=5, resamples=200):
        if (weights @ truth > 0).all():
            areas = [roc_auc_score(truth[:, i], scores[:, i], sample_weight=weights) for i in range(3)]
            expected.append(np.mean(areas))
    assert 0 < len(expected) < 200
    assert auc_interval(truth, scores, groups, seed=5, resamples=200) == pytest.approx(np.percentile(expected, [2.5, 97.5]))


def test_auc_interval_of_few_groups() -> None:
    truth, scores = np.array([[True], [False], [True], [False]]), np.array([[0.9], [0.1], [0.8], [0.3]])
    assert auc_interval(truth, scores, np.zeros(4, int), seed=0) is None
    assert auc_interval(truth, scores, np.arange(4), seed=0) == [1.0, 1.0]
    assert auc_interval(truth, 1 - scores, np.array([0, 1, 0, 1]), seed=0) == [0.0, 0.0]
