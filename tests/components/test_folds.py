import numpy as np

from components.folds import folds_by_group


def test_groups_stay_together_and_classes_are_balanced() -> None:
    groups = np.repeat(np.arange(100), 2)
    labels = (groups % 4 == 0).astype(int)
    folds = folds_by_group(labels, groups, seed=0)
    assert all(len(set(folds[groups == group])) == 1 for group in range(100))
    assert sorted(set(folds)) == [0, 1, 2, 3, 4]
    assert [int(labels[folds == fold].sum()) for fold in range(5)] == [10] * 5
    assert np.array_equal(folds, folds_by_group(labels, groups, seed=0))
    assert not np.array_equal(folds, folds_by_group(labels, groups, seed=1))


def test_few_groups_of_a_class_give_fewer_folds() -> None:
    labels = np.array([0] * 20 + [1] * 3)
    assert folds_by_group(labels, np.arange(23), seed=0).max() == 2
