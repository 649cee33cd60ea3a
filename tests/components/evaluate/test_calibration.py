import numpy as np
import pytest

from components.evaluate.calibration import calibration_bins, calibration_error


def test_calibration_error_matches_hand_count() -> None:
    predicted = np.array([0.9] * 10 + [0.2] * 30)
    observed = np.array([True] * 8 + [False] * 2 + [True] * 9 + [False] * 21)

    bins = calibration_bins(predicted, observed)

    assert [point["count"] for point in bins] == [30, 10]
    assert [point["observed"] for point in bins] == pytest.approx([0.3, 0.8])
    assert calibration_error(bins) == pytest.approx((30 * 0.1 + 10 * 0.1) / 40)


def test_probabilities_of_0_and_1_have_a_bin() -> None:
    assert [point["count"] for point in calibration_bins(np.array([0.0, 1.0, 1.0]), np.array([False, True, True]))] == [1, 2]
