"""What a model has to beat: the most frequent class, the geometry of the files, and a logistic regression on frozen features."""

import numpy as np

from components.architectures.evidence import EvidenceConfig
from components.decode import decode_batch
from components.efficientnet_lite0 import build_backbone
from components.folds import folds_by_group
from pipelines.cross_validation.data import ImageSet

REGULARISATIONS = (1e-4, 1e-3, 1e-2, 1e-1)
TREES = 500
BATCH_SIZE = 16


def majority(images: ImageSet, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the share of each class among the training images for every test image: float [m, classes]."""
    shares = np.bincount(images.labels[train], minlength=len(images.classes)) / len(train)
    return np.tile(shares, (len(test), 1))


def geometry(images: ImageSet, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Predict the test images from width, height, aspect ratio, file size and format by a random forest: float [m, classes]."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(TREES, min_samples_leaf=3, random_state=0, class_weight="balanced_subsample")
    forest.fit(images.geometry[train], images.labels[train])
    return forest.predict_proba(images.geometry[test])


def frozen_features(images: ImageSet) -> np.ndarray:
    """Return the mean of each feature map of the frozen network on the brain crop, float32 [n, 304]."""
    import tensorflow as tf

    side_px = EvidenceConfig().image_size_px
    backbone, rows = build_backbone(side_px), []
    for start in range(0, len(images), BATCH_SIZE):
        pixels, _ = decode_batch(tf.constant(images.encoded[start : start + BATCH_SIZE]), side_px, crop=True)
        rows.append(backbone(pixels, training=False).numpy().mean(axis=(1, 2)))
    return np.concatenate(rows)


def frozen_logistic_regression(
    images: ImageSet, features: np.ndarray, train: np.ndarray, test: np.ndarray, *, seed: int
) -> np.ndarray:
    """Predict the test images by a logistic regression on pooled features, float [n, F]; its penalty is chosen on inner folds.

    Returns:
        float [m, classes].
    """
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = folds_by_group(images.labels[train], images.groups[train], seed=seed)
    splits = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in np.unique(folds)]
    options = {"l1_ratios": (0.0,), "use_legacy_attributes": False, "max_iter": 2000}
    regression = LogisticRegressionCV(Cs=REGULARISATIONS, cv=splits, scoring="neg_log_loss", **options)
    model = make_pipeline(StandardScaler(), regression)
    model.fit(features[train], images.labels[train])
    return model.predict_proba(features[test])
