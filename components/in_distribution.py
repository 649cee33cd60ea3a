"""How like the training images an image is: the Mahalanobis distance of a network's pooled features.

After Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples and adversarial attacks", with one
Gaussian for all classes. The correlations are shrunk towards 0, as there may be fewer images than features.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

# Fraction of brain images like the training images that count as unlike them.
REFUSED_SHARE = 0.02
# Measured: the shrinkage of Ledoit and Wolf, 0.15, calls twice as many brain slices of other sources unlike the training images,
# and no more of the images that are no MRI.
SHRINKAGE = 0.5
MIN_SCALE = 1e-6


@dataclass(frozen=True)
class InDistribution:
    """A fitted distance.

    Attributes:
        mean: Mean features, float32 [F].
        whitening: float32 [F, F]; the distance of features f is the length of (f - mean) @ whitening.
        limit: Distance above which an image is unlike the training images.
        description: Which images it was fitted on, for model.json.
    """

    mean: np.ndarray
    whitening: np.ndarray
    limit: float
    description: str

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return the distances, float64 [n], of features, float32 [n, F]."""
        return np.linalg.norm((features - self.mean).astype(np.float64) @ self.whitening, axis=1)

    def outputs(self, features: "tf.Tensor") -> "tf.Tensor":
        """Return `in_distribution`, float32 [N], from features, float32 [N, F]: 1 at the mean, 0.5 at the limit, falling to 0."""
        import tensorflow as tf

        distance = tf.norm(tf.matmul(features - self.mean, self.whitening), axis=1)
        return tf.pow(2.0, -tf.square(distance / self.limit))

    def describe(self) -> dict[str, Any]:
        """Return the entry of model.json."""
        return {
            "method": "mahalanobis",
            "features": len(self.mean),
            "limit": round(self.limit, 4),
            "refused_share": REFUSED_SHARE,
            "fitted_on": self.description,
        }


def fit_in_distribution(features: np.ndarray, held_out_distances: np.ndarray, description: str) -> InDistribution:
    """Fit the distance to training images.

    Args:
        features: Pooled features of the training images, float32 [n, F].
        held_out_distances: Distances of images that theirs was not fitted on, float [m]. All but `REFUSED_SHARE` of them are
            within the limit.
        description: Which images these are, for model.json.
    """
    mean, whitening = _fit_gaussian(features)
    limit = float(np.quantile(held_out_distances, 1 - REFUSED_SHARE, method="higher"))
    return InDistribution(mean, whitening, limit, description)


def distances_to(training: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return the distances, float64 [m], of features, float32 [m, F], from those of training images, float32 [n, F]."""
    return InDistribution(*_fit_gaussian(training), limit=1.0, description="").distances(features)


def held_out_distances(features: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the distance of each image to those of the other folds, float64 [n].

    Args:
        features: float32 [n, F].
        folds: Number of each image's fold, int [n].
    """
    distances = np.zeros(len(features))
    for fold in np.unique(folds):
        inside = folds == fold
        distances[inside] = distances_to(features[~inside], features[inside])
    return distances


def _fit_gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and a whitening matrix of features, float32 [F] and [F, F]."""
    mean = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64) + MIN_SCALE
    standardised = (features - mean) / scale
    correlation = standardised.T @ standardised / len(features)
    values, vectors = np.linalg.eigh((1 - SHRINKAGE) * correlation + SHRINKAGE * np.eye(len(mean)))
    whitening = vectors / np.sqrt(values) / scale[:, None]
    return mean.astype(np.float32), whitening.astype(np.float32)
