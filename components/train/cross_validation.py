"""Cross-validation of hyper-parameters: every training and validation image is scored by a network that was not taught it."""

import tempfile
from pathlib import Path

import numpy as np

from components.architectures import architecture_module
from components.decision import score_metrics
from components.folds import MAX_FOLDS, write_folds
from components.hyperparameters import TrainConfig
from components.shards import Shards, open_shards
from components.train.train import make_folder
from components.trained import Trained


def cross_validate(
    shards_dir: Path,
    *,
    config: TrainConfig,
    metrics_file: Path | None = None,
    cache_dir: Path | None = None,
    folds: int = MAX_FOLDS,
) -> dict[str, float]:
    """Train for each fold by group on the images of the others, and score the fold with the best epoch.

    An architecture whose training scores by folds itself is trained once.

    Args:
        shards_dir: Folder of the shards.
        config: Hyper-parameters.
        metrics_file: See `MetricsFile`. One step is an epoch if there is one training, else a fold, with the metrics of all
            images scored so far.
        cache_dir: See `train`.
        folds: Maximum number of folds of an architecture that is trained for each.

    Returns:
        The metrics over all training and validation images by name, from one score each.

    Raises:
        InputError: As `train`.
    """
    shards = open_shards(shards_dir)
    for name, folder in (("metrics_file", metrics_file and metrics_file.parent), ("cache_dir", cache_dir)):
        if folder:
            make_folder(name, folder)
    if config.scores_by_fold:
        trained: Trained = architecture_module(config).train(shards, config, metrics_file=metrics_file, cache_dir=cache_dir)
        return score_metrics(trained.calibration.scores, trained.calibration.labels)
    with tempfile.TemporaryDirectory() as scratch:
        return _train_each_fold(shards, config, Path(scratch), metrics_file, folds)


def _train_each_fold(
    shards: Shards, config: TrainConfig, scratch: Path, metrics_file: Path | None, count: int
) -> dict[str, float]:
    from components.callbacks import MetricsFile

    file = MetricsFile(metrics_file, {}) if metrics_file else None
    metrics: dict[str, float] = {}
    scored = []
    fold_shards = write_folds(shards, scratch, seed=config.seed, count=count)
    for number, fold in enumerate(fold_shards):
        scored.append(architecture_module(config).train(fold, config).calibration)
        scores, labels = (np.concatenate(each) for each in zip(*((one.scores, one.labels) for one in scored), strict=True))
        if len(np.unique(labels)) < len(shards.classes):
            continue  # the AUC is undefined
        metrics = score_metrics(scores, labels)
        print(f"train: fold {number + 1} of {len(fold_shards)}, val_auc of {len(labels)} images {metrics['auc']:.4f}", flush=True)
        if file:
            file.on_epoch_end(number, {f"val_{name}": value for name, value in metrics.items()})
    return metrics
