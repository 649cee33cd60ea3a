import numpy as np
import pytest

from components.in_distribution import InDistribution, _fit_gaussian, fit_in_distribution, held_out_distances


def normal(count: int, seed: int) -> np.ndarray:
    """Return features with correlated columns of different scales, float32 [count, 3]."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, count))
    return np.stack([5 + a, 100 * (a + 0.1 * b), 0.01 * c], axis=1).astype(np.float32)


def test_distance_is_that_of_mahalanobis() -> None:
    features = normal(20_000, 0)
    fitted = InDistribution(*_fit_gaussian(features), limit=1.0, description="")
    covariance = np.cov(features.T) * np.where(np.eye(3), 1, 0.5)  # the correlations are shrunk by half
    inverse = np.linalg.inv(covariance)
    some = normal(50, 1)
    expected = [np.sqrt((row - features.mean(0)) @ inverse @ (row - features.mean(0))) for row in some.astype(np.float64)]
    assert fitted.distances(some) == pytest.approx(expected, rel=0.01)
    # The second is off the line that the first two columns lie on, although each of its values alone is usual.
    on_the_line, off_the_line = fitted.distances(np.array([[6.0, 100.0, 0.0], [6.0, -100.0, 0.0]], np.float32))
    assert off_the_line > 1.7 * on_the_line


def test_limit_leaves_out_two_percent_of_the_held_out_images() -> None:
    fitted = fit_in_distribution(normal(500, 0), np.arange(1, 101, dtype=float), "100 images")
    assert (np.arange(1, 101) <= fitted.limit).sum() == 99
    assert fitted.describe() == {
        "method": "mahalanobis",
        "features": 3,
        "limit": fitted.limit,
        "refused_share": 0.02,
        "fitted_on": "100 images",
    }


def test_output_is_1_at_the_mean_and_half_at_the_limit() -> None:
    import tensorflow as tf

    fitted = InDistribution(np.zeros(2, np.float32), np.eye(2, dtype=np.float32), limit=4.0, description="")
    outputs = fitted.outputs(tf.constant([[0.0, 0.0], [0.0, 4.0], [8.0, 0.0], [0.0, 0.0]])).numpy()
    assert outputs == pytest.approx([1.0, 0.5, 1 / 16, 1.0])


def test_held_out_distance_does_not_know_the_fold_of_the_image() -> None:
    features = normal(100, 0)
    features[:10] += np.array([50.0, 0.0, 0.0], np.float32)
    folds = np.repeat(np.arange(10), 10)
    distances = held_out_distances(features, folds)
    assert distances[:10].min() > 20
    assert np.median(distances[10:]) < 3
