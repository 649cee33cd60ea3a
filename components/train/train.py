"""Train the network on the shards and export it."""

import contextlib
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brain_tumor.errors import InputError
from components.hyperparameters import TrainConfig
from components.train.data import Shards, open_shards, steps_per_epoch, training_batches, validation_batches
from components.train.export import export
from components.train.network import build_model

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from components.train.callbacks import ResumableCheckpoint

History = dict[str, list[float]]


@dataclass(frozen=True)
class TrainingResult:
    """A trained network in float32 with the weights of its best epoch (from 0), and the metrics of all epochs."""

    model: "keras.Model"
    history: History
    best_epoch: int


def train(
    shards_dir: Path,
    *,
    model_dir: Path | None,
    config: TrainConfig,
    logs_dir: Path | None = None,
    checkpoint_dir: Path | None = None,
    metrics_file: Path | None = None,
    gpus: int = 0,
) -> TrainingResult:
    """Train on the preprocess output and export the SavedModel.

    Args:
        shards_dir: Folder of the shards.
        model_dir: Output folder of the SavedModel, written atomically; None exports none.
        config: Hyper-parameters.
        logs_dir: Folder of the TensorBoard logs.
        checkpoint_dir: Checkpoint folder. A killed training resumes from it.
        metrics_file: See `MetricsFile`.
        gpus: Number of requested GPUs; a training on fewer prints it.

    Raises:
        InputError: The folder is no preprocess output, an output folder cannot be created, or the loss is not finite.
    """
    shards = open_shards(shards_dir)
    if checkpoint_dir:
        _make_folder("checkpoint_dir", checkpoint_dir)
    if metrics_file:
        _make_folder("metrics_file", metrics_file.parent)
    import tensorflow as tf

    found = len(tf.config.list_logical_devices("GPU"))
    if found < gpus:
        print(f"train: requested {gpus} GPU, found {found}", flush=True)
    result = fit(shards, config, logs_dir=logs_dir, checkpoint_dir=checkpoint_dir, metrics_file=metrics_file)
    if model_dir:
        export(result.model, shards, config, history=result.history, model_dir=model_dir)
    return result


def fit(
    shards: Shards,
    config: TrainConfig,
    *,
    logs_dir: Path | None = None,
    checkpoint_dir: Path | None = None,
    metrics_file: Path | None = None,
) -> TrainingResult:
    """Train on all local GPUs, in mixed precision if there is one, and return the best epoch in float32.

    The best epoch has the lowest validation loss. With `checkpoint_dir` every epoch's state is saved, that of the callbacks
    included, and a training with the same images and hyper-parameters resumes from it.
    """
    import keras
    import tensorflow as tf

    from components.train.callbacks import BEST_WEIGHTS, MetricsFile, Progress

    keras.utils.set_random_seed(config.seed)
    gpus = tf.config.list_logical_devices("GPU")
    print(f"train: {shards.count('train')} images, {shards.count('validation')} for validation, {_devices(gpus)}", flush=True)
    classes = len(shards.classes)
    with tempfile.TemporaryDirectory() as scratch:
        best_weights = Path(scratch) / BEST_WEIGHTS
        with _strategy(gpus).scope(), _precision(_policy(gpus)):
            model = build_model(config, classes)
            compile_model(model, config, classes)
        checkpoint = _checkpoint(checkpoint_dir or Path(scratch), shards, config, best_weights)
        first_epoch = checkpoint.restore(model)
        callbacks = [*checkpoint.callbacks, checkpoint, Progress(config.epochs)]
        if metrics_file:
            callbacks.append(MetricsFile(metrics_file, checkpoint.history))
        if logs_dir:
            callbacks.append(keras.callbacks.TensorBoard(str(logs_dir), write_graph=False))
        if not checkpoint.finished and first_epoch < config.epochs:
            _run_epochs(model, shards, config, first_epoch, callbacks)
        losses = checkpoint.history["val_loss"]
        if not all(map(math.isfinite, losses)):
            raise InputError(f"the validation loss is not finite (learning_rate={config.learning_rate}): lower the learning rate")
        best = build_model(config, classes)
        best.load_weights(best_weights)
    return TrainingResult(best, checkpoint.history, losses.index(min(losses)))


def compile_model(model: "keras.Model", config: TrainConfig, classes: int) -> None:
    """Compile with Adam, cross-entropy and the published metrics: accuracy, precision, recall and AUC."""
    import keras

    loss: keras.losses.Loss = keras.losses.BinaryCrossentropy() if classes == 2 else keras.losses.CategoricalCrossentropy()
    accuracy: keras.metrics.Metric = (
        keras.metrics.BinaryAccuracy("accuracy", threshold=config.threshold)
        if classes == 2
        else keras.metrics.CategoricalAccuracy("accuracy")
    )
    threshold = config.threshold if classes == 2 else None
    metrics = [
        accuracy,
        keras.metrics.Precision(thresholds=threshold, name="precision"),
        keras.metrics.Recall(thresholds=threshold, name="recall"),
        keras.metrics.AUC(name="auc", multi_label=classes > 2),
    ]
    model.compile(keras.optimizers.Adam(config.learning_rate), loss=loss, metrics=metrics)


def _checkpoint(folder: Path, shards: Shards, config: TrainConfig, best_weights: Path) -> "ResumableCheckpoint":
    """Return the checkpoint of the callbacks that watch the validation loss."""
    import keras

    from components.train.callbacks import ResumableCheckpoint

    callbacks = [
        keras.callbacks.ModelCheckpoint(str(best_weights), monitor="val_loss", save_best_only=True, save_weights_only=True),
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=config.reduce_lr_patience, min_lr=1e-6),
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=config.early_stopping_patience),
    ]
    # repr, as ever, so that checkpoints of earlier versions still resume
    identity = f"{shards.description['fingerprint']} {shards.description['split_fingerprint']} {config!r}"
    return ResumableCheckpoint(folder, callbacks, best_weights=best_weights, identity=identity)


def _run_epochs(model: "keras.Model", shards: Shards, config: TrainConfig, first_epoch: int, callbacks: list) -> None:
    model.fit(
        training_batches(shards, config, first_epoch),
        steps_per_epoch=steps_per_epoch(shards, config),
        epochs=config.epochs,
        initial_epoch=first_epoch,
        validation_data=validation_batches(shards, config),
        callbacks=callbacks,
        shuffle=False,  # the batches are shuffled already
        verbose=0,
    )


def _make_folder(name: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{name}: cannot create folder {folder}: {error.strerror}") from error


def _devices(gpus: list) -> str:
    return f"on {len(gpus)} GPU in mixed precision" if gpus else "on CPU"


def _strategy(gpus: list) -> "tf.distribute.Strategy":
    import tensorflow as tf

    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def _policy(gpus: list) -> str:
    return "mixed_float16" if gpus else "float32"


@contextlib.contextmanager
def _precision(policy: str) -> Iterator[None]:
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
