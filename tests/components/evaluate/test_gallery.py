from itertools import chain

import numpy as np

from components.evaluate.gallery import CLOSE_CASES, RIGHT_CASES, WRONG_CASES, select_cases
from components.evaluate.predictions import Predictions


def predict(labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5) -> Predictions:
    predicted = (scores >= threshold).astype(int)
    probabilities = np.stack([1 - scores, scores], axis=1)
    return Predictions(("no_tumor", "tumor"), ("tumor",), labels, predicted, probabilities, np.arange(len(labels)))


def test_cases_are_chosen_by_confidence_and_none_twice() -> None:
    scores = np.linspace(0.01, 0.99, 60)
    labels = (scores >= 0.5).astype(int)
    labels[[0, 58]] = [1, 0]

    chosen = select_cases(predict(labels, scores), 0.5)

    assert sorted(chosen["wrong"]) == [0, 58]
    assert {29, 30} < set(chosen["close"])
    assert sorted(chosen["right"]) == [1, 2, 3, 56, 57, 59]  # from both classes in turn, the surest of each
    everything = list(chain.from_iterable(chosen.values()))
    assert len(everything) == len(set(everything)) == 2 + CLOSE_CASES + RIGHT_CASES


def test_nearest_is_measured_from_the_threshold() -> None:
    scores = np.array([0.1, 0.29, 0.31, 0.5, 0.9])
    labels = np.array([0, 0, 1, 1, 1])
    assert set(select_cases(predict(labels, scores, 0.3), 0.3)["close"]) == {1, 2, 0}


def test_rows_stay_short_however_many_are_wrong() -> None:
    chosen = select_cases(predict(np.zeros(50, int), np.linspace(0.6, 0.99, 50)), 0.5)
    assert chosen["wrong"] == [49, 48, 47, 46, 45, 44]
    assert len(chosen["wrong"]) == WRONG_CASES
    assert chosen["right"] == []


def test_nothing_to_choose_from() -> None:
    assert select_cases(predict(np.array([], int), np.array([])), 0.5) == {"wrong": [], "close": [], "right": []}
