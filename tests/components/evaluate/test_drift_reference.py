import numpy as np
import pytest

from components.evaluate.drift_reference import drift_reference


def test_fractions_are_cumulative_and_bounds_inclusive() -> None:
    reference = drift_reference(np.array([0.05, 0.2, 0.21]), np.array([64, 65, 5000]), np.array([0.5, 0.95, 1.0]))

    brightness = dict(zip(reference["brightness"]["le"], reference["brightness"]["share"], strict=True))
    assert brightness[0.05] == pytest.approx(1 / 3)
    assert brightness[0.2] == pytest.approx(2 / 3)
    assert brightness[0.22] == 1
    sides = dict(zip(reference["side_pixels"]["le"], reference["side_pixels"]["share"], strict=True))
    assert (sides[64], sides[128], sides[2048], sides["+Inf"]) == pytest.approx((1 / 3, 2 / 3, 2 / 3, 1))


@pytest.mark.parametrize("count", [0, 7])
def test_last_bucket_contains_every_image(count: int) -> None:
    for feature in drift_reference(np.random.default_rng(0).random(count), np.arange(count), np.ones(count)).values():
        assert feature["le"][-1] == "+Inf"
        assert feature["share"][-1] == 1
        assert feature["share"] == sorted(feature["share"])
