"""Resample whole groups: near copies are predicted correctly or wrongly together."""

import math
from collections.abc import Iterator

import numpy as np

RESAMPLES = 2000


def accuracy_interval(is_correct: np.ndarray, groups: np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> list[float] | None:
    """Return the 95 % interval of the accuracy, by the percentile bootstrap over groups.

    Args:
        is_correct: bool [n].
        groups: Group numbers, int [n].
        seed: Seed of the bootstrap.
        resamples: Number of resamples.

    Returns:
        The 2.5th and the 97.5th percentile, 0-1; None with fewer than two groups.
    """
    if len(np.unique(groups)) < 2:
        return None
    sizes, correct = resample_groups(groups, is_correct, seed=seed, resamples=resamples)
    return np.percentile(correct / sizes, [2.5, 97.5]).tolist()


def auc_interval(
    truth: np.ndarray, scores: np.ndarray, groups: np.ndarray, *, seed: int, resamples: int = RESAMPLES
) -> list[float] | None:
    """Return the 95 % interval of the mean one-vs-rest ROC-AUC, by the percentile bootstrap over groups.

    Resamples without images of every class are left out.

    Args:
        truth: Whether each image has each class, bool [n, k].
        scores: Probabilities of the classes, float [n, k], 0-1.
        groups: Group numbers, int [n].
        seed: Seed of the bootstrap.
        resamples: Number of resamples.

    Returns:
        The 2.5th and the 97.5th percentile, 0-1; None with fewer than two groups, or if no resample has every class.
    """
    if len(np.unique(groups)) < 2:
        return None
    areas = [
        np.mean([weighted_auc(*columns, weights) for columns in zip(truth.T, scores.T, strict=True)])
        for weights in resample_weights(groups, seed=seed, resamples=resamples)
    ]
    defined = [area for area in areas if not math.isnan(area)]
    return np.percentile(defined, [2.5, 97.5]).tolist() if defined else None


def fraction_below(
    candidate: np.ndarray, champion: np.ndarray, groups: np.ndarray, *, seed: int, resamples: int = RESAMPLES
) -> float:
    """Return the fraction of paired resamples, 0-1, in which the candidate's accuracy is below the champion's.

    Args:
        candidate: Whether the candidate predicts each image correctly, bool [n].
        champion: The same for the champion, bool [n].
        groups: Group numbers, int [n].
        seed: Seed of the bootstrap.
        resamples: Number of resamples.
    """
    _, candidate_correct, champion_correct = resample_groups(groups, candidate, champion, seed=seed, resamples=resamples)
    return float((candidate_correct < champion_correct).mean())


def resample_weights(groups: np.ndarray, *, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Draw groups with replacement; yield how often each image is in each resample, int [n].

    For statistics that are no function of sums; `resample_groups` is faster for those.

    Args:
        groups: Group numbers, int [n].
        seed: Seed of the draws.
        resamples: Number of resamples.
    """
    _, members = np.unique(groups, return_inverse=True)
    count = int(members.max()) + 1
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield rng.multinomial(count, np.full(count, 1 / count))[members]


def weighted_auc(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """Return the ROC-AUC of weighted images; scikit-learn's takes a hundred times as long, too long for each of many resamples.

    It is the probability that a positive image has a higher score than a negative one, half of it if they are equal (Hanley
    and McNeil 1982, doi:10.1148/radiology.143.1.7063747).

    Args:
        truth: Whether each image is positive, bool [n].
        scores: float [n].
        weights: int or float [n], 0 or more.

    Returns:
        0-1; NaN if either class has no weight.
    """
    ranks = np.unique(scores, return_inverse=True)[1]
    positive, negative = np.bincount(ranks, weights * truth), np.bincount(ranks, weights * ~truth)
    pairs = positive.sum() * negative.sum()
    return float(positive @ (np.cumsum(negative) - negative / 2) / pairs) if pairs else math.nan


def resample_groups(groups: np.ndarray, *values: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Draw groups with replacement and sum the group sizes and each of `values` over every resample.

    This is the cluster bootstrap (Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x). Groups with equal sums are
    interchangeable, so a resample is one multinomial draw over the distinct sums.

    Args:
        groups: Group numbers, int [n].
        values: Arrays [n].
        seed: Seed of the draws.
        resamples: Number of resamples.

    Returns:
        float64 [1 + number of `values`, resamples].
    """
    # scipy.stats.bootstrap on the groups' sums takes as many lines, and memory for resamples x groups.
    _, members = np.unique(groups, return_inverse=True)
    sums = np.stack([np.bincount(members, weights=each) for each in (np.ones(len(groups)), *values)])
    distinct, counts = np.unique(sums, axis=1, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(sums.shape[1], counts / sums.shape[1], size=resamples)
    return distinct @ drawn.T
