"""Train a network of the chosen architecture on the shards and export it."""

from pathlib import Path

from brain_tumor.errors import InputError
from components.architectures import architecture_module
from components.gpus import count_gpus
from components.hyperparameters import TrainConfig
from components.shards import open_shards
from components.train.export import export
from components.trained import Trained


def train(
    shards_dir: Path,
    *,
    model_dir: Path | None,
    config: TrainConfig,
    logs_dir: Path | None = None,
    checkpoint_dir: Path | None = None,
    metrics_file: Path | None = None,
    cache_dir: Path | None = None,
    gpus: int = 0,
) -> Trained:
    """Train on the preprocess output and export the SavedModel.

    Args:
        shards_dir: Folder of the shards.
        model_dir: Output folder of the SavedModel, written atomically; None exports none.
        config: Hyper-parameters.
        logs_dir: Folder of the TensorBoard logs.
        checkpoint_dir: Checkpoint folder. A killed training resumes from it.
        metrics_file: See `MetricsFile`.
        cache_dir: Folder of the cached features, for other trainings on the same images, one at a time.
        gpus: Number of requested GPUs; a training on fewer prints it.

    Raises:
        InputError: The folder is no preprocess output, an output folder cannot be created, or the loss is not finite.
    """
    shards = open_shards(shards_dir)
    if checkpoint_dir:
        make_folder("checkpoint_dir", checkpoint_dir)
    if metrics_file:
        make_folder("metrics_file", metrics_file.parent)
    if cache_dir:
        make_folder("cache_dir", cache_dir)
    if (found := count_gpus()) < gpus:
        print(f"train: requested {gpus} GPU, found {found}", flush=True)
    architecture = architecture_module(config)
    trained: Trained = architecture.train(
        shards, config, logs_dir=logs_dir, checkpoint_dir=checkpoint_dir, metrics_file=metrics_file, cache_dir=cache_dir
    )
    if model_dir:
        export(trained, shards, config, model_dir=model_dir)
    return trained


def make_folder(name: str, folder: Path) -> None:
    """Create the folder of an option.

    Raises:
        InputError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{name}: cannot create folder {folder}: {error.strerror}") from error
