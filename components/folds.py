"""Folds of a data set for cross-validation: no group of near copies is in two of them."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.shards import TRAINING_SPLITS, Shards, read_records

MAX_FOLDS = 5
FOLD = "fold"


@dataclass(frozen=True)
class FoldShards(Shards):
    """The training and validation images with one fold as the validation split, the others as the training split.

    Attributes:
        fold: Number of the fold, from 0.
    """

    fold: int

    def files(self, split: str) -> list[str]:
        files = super().files(FOLD)
        return [file for fold, file in enumerate(files) if (fold == self.fold) == (split == "validation")]


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


def write_folds(shards: Shards, folder: Path, *, seed: int, count: int = MAX_FOLDS) -> list[FoldShards]:
    """Write one shard for each fold of the training and validation images.

    Args:
        shards: The preprocess output.
        folder: Existing folder to write to.
        seed: Seed of the folds.
        count: Number of folds, as for `folds_by_group`.

    Returns:
        For each fold the shards in which it is the validation split.
    """
    import tensorflow as tf

    labels, groups = np.array([(record.label, record.group) for record in read_records(shards, *TRAINING_SPLITS)]).T
    folds = folds_by_group(labels, groups, seed=seed, count=count)
    numbers = range(folds.max() + 1)
    files = [file for split in TRAINING_SPLITS for file in shards.files(split)]
    with ExitStack() as stack:
        writers = [stack.enter_context(tf.io.TFRecordWriter(str(folder / f"{FOLD}-{fold:05d}.tfrecord"))) for fold in numbers]
        for record, fold in zip(tf.data.TFRecordDataset(files).as_numpy_iterator(), folds, strict=True):
            writers[fold].write(record)
    return [FoldShards(folder, _describe(shards, labels, folds, fold), fold) for fold in numbers]


def _describe(shards: Shards, labels: np.ndarray, folds: np.ndarray, fold: int) -> dict[str, Any]:
    """Return the preprocess output's description with the counts of a fold."""

    def count(inside: np.ndarray) -> dict[str, int]:
        return {name: int(np.sum(labels[inside] == index)) for index, name in enumerate(shards.classes)}

    return shards.description | {"counts": {"train": count(folds != fold), "validation": count(folds == fold)}}
