from itertools import chain

import numpy as np

from components.evaluate.gallery import BORDERLINE_CASES, CORRECT_CASES, MISCLASSIFIED_CASES, select_cases
from components.evaluate.predictions import Predictions


def predict(labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5) -> Predictions:
    predicted_labels = (scores >= threshold).astype(int)
    probabilities = np.stack([1 - scores, scores], axis=1)
    return Predictions(("no_tumor", "tumor"), ("tumor",), labels, predicted_labels, probabilities, np.arange(len(labels)))


def test_cases_are_selected_by_confidence_and_none_twice() -> None:
    scores = np.linspace(0.01, 0.99, 60)
    labels = (scores >= 0.5).astype(int)
    labels[[0, 58]] = [1, 0]

    selected = select_cases(predict(labels, scores), 0.5)

    assert sorted(selected["misclassified"]) == [0, 58]
    assert {29, 30} < set(selected["borderline"])
    assert sorted(selected["correct"]) == [1, 2, 3, 56, 57, 59]  # alternating classes, most confident first
    everything = list(chain.from_iterable(selected.values()))
    assert len(everything) == len(set(everything)) == 2 + BORDERLINE_CASES + CORRECT_CASES


def test_borderline_is_measured_from_the_threshold() -> None:
    scores = np.array([0.1, 0.29, 0.31, 0.5, 0.9])
    labels = np.array([0, 0, 1, 1, 1])
    assert set(select_cases(predict(labels, scores, 0.3), 0.3)["borderline"]) == {1, 2, 0}


def test_row_of_many_misclassified_images_is_cut() -> None:
    selected = select_cases(predict(np.zeros(50, int), np.linspace(0.6, 0.99, 50)), 0.5)
    assert selected["misclassified"] == [49, 48, 47, 46, 45, 44]
    assert len(selected["misclassified"]) == MISCLASSIFIED_CASES
    assert selected["correct"] == []


def test_no_image_gives_empty_rows() -> None:
    assert select_cases(predict(np.array([], int), np.array([])), 0.5) == {"misclassified": [], "borderline": [], "correct": []}
