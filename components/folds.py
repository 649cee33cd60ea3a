"""Folds of a data set for cross-validation: no group of near copies is in two of them."""

import numpy as np

MAX_FOLDS = 5


def folds_by_group(labels: np.ndarray, groups: np.ndarray, *, seed: int, count: int = MAX_FOLDS) -> np.ndarray:
    """Return the fold of each image, int [n], from 0. Each fold has about the same share of each class.

    There are fewer folds than `count` if a class has fewer groups.

    Args:
        labels: Indices of the classes, int [n].
        groups: Numbers of the groups, int [n].
        seed: Seed of the order of the groups.
        count: Number of folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups_per_class = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    splits = StratifiedGroupKFold(max(2, min(count, groups_per_class)), shuffle=True, random_state=seed)
    folds = np.zeros(len(labels), dtype=int)
    for fold, (_, inside) in enumerate(splits.split(labels, labels, groups)):
        folds[inside] = fold
    return folds
