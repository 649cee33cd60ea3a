"""The published network: three blocks of convolutions on the whole image, trained from nothing; explained by Grad-CAM."""

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from brain_tumor.errors import InputError
from components.gpus import devices, mixed_precision, strategy
from components.grad_cam import grad_cam, grad_cam_of_one_image, split_network
from components.hyperparameters import BatchSize, Epochs, ImageSizePx, LearningRate, Threshold, TrainConfig, Zoom
from components.in_distribution import distances_to, fit_in_distribution
from components.shards import Shards, steps_per_epoch, training_batches, unaugmented_batches
from components.trained import CalibrationSet, Decide, History, Network, Trained

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from components.callbacks import ResumableCheckpoint

Head = Literal["flatten", "pool"]
LAST_CONVOLUTION = "convolution_3"
LOGITS = "logits"


class CnnConfig(TrainConfig):
    """The hyper-parameters of `cnn`. The defaults are the published recipe with `head=pool`."""

    architecture: Literal["cnn"] = "cnn"
    image_size_px: ImageSizePx = 150
    learning_rate: LearningRate = 7e-4
    batch_size: BatchSize = 16
    epochs: Epochs = 30
    zoom: Zoom = 0.1
    threshold: Threshold = 0.5
    head: Head = Field(
        default="pool",
        description="`pool` keeps the maximum of each feature map: 50 times fewer weights and a more precise heatmap; "
        "`flatten` is the published head, more stable with few images at a learning rate of 1e-4.",
    )
    filters: int = Field(default=32, ge=1, description="Filters of the first convolution; each of the next two doubles them.")
    dense_units: int = Field(default=128, ge=1, description="Units of the hidden dense layer.")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="Fraction of the dense units dropped in training.")
    l2: float = Field(default=1e-4, ge=0, description="L2 weight decay of the convolution kernels.")
    batch_norm_momentum: float = Field(
        default=0.8, gt=0, lt=1, description="Momentum of the moving statistics; 0.99 never settles on a small dataset."
    )
    early_stopping_patience: int = Field(
        default=10, ge=1, description="Epochs without a lower validation loss before training stops."
    )
    reduce_lr_patience: int = Field(
        default=4, ge=1, description="Epochs without a lower validation loss before the learning rate is halved."
    )
    shear_deg: float = Field(default=5.0, ge=0, lt=90, description="Augmentation: maximum shear in degrees, either way.")


class CnnNetwork(Network):
    """The trained network, split at its last convolution."""

    explanation = "grad_cam"
    crops_brain = False

    def __init__(self, model: "keras.Model"):
        self.model = model
        self.architecture = model.name
        self.image_size_px = model.input_shape[1]
        self.parts = self.to_features, self.to_score = split_network(model, LAST_CONVOLUTION, LOGITS)

    def score(self, pixels: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        import tensorflow as tf

        features = self.to_features(pixels, training=False)
        return self.to_score(features, training=False), tf.reduce_mean(features, axis=(1, 2))

    def explain(self, pixels: "tf.Tensor", decide: Decide) -> tuple["tf.Tensor", "tf.Tensor", "tf.Tensor"]:
        import tensorflow as tf

        features = self.to_features(pixels, training=False)
        score, heatmap = grad_cam(features, self.to_score, lambda score: decide(score)[0])
        return score, tf.reduce_mean(features, axis=(1, 2)), heatmap

    def reference_heatmap(self, pixels: "tf.Tensor", index: int, boundary: float) -> np.ndarray:
        return grad_cam_of_one_image(self.model, LAST_CONVOLUTION, LOGITS, pixels, index)


def build_model(config: CnnConfig, classes: int) -> "keras.Model":
    """Build three blocks of convolution, batch normalisation and pooling, and a dense head.

    The score before the sigmoid or softmax is a layer of its own (`logits`), because Grad-CAM takes its gradient.

    Args:
        config: Hyper-parameters.
        classes: Number of classes. Two give one sigmoid, more a softmax.

    Returns:
        A model from float32 [N, size, size, 3] in 0-1 to the probability, float32 [N, 1] or [N, classes].
    """
    import keras
    from keras import layers

    inputs = keras.Input((config.image_size_px, config.image_size_px, 3), name="pixels")
    x = inputs
    for block in (1, 2, 3):
        x = layers.Conv2D(
            config.filters * 2 ** (block - 1),
            3,
            padding="same",
            activation="relu",
            kernel_regularizer=keras.regularizers.L2(config.l2),
            name=f"convolution_{block}",
        )(x)
        x = layers.BatchNormalization(momentum=config.batch_norm_momentum, name=f"normalization_{block}")(x)
        x = layers.MaxPooling2D(name=f"pooling_{block}")(x)
    x = layers.Flatten(name="head")(x) if config.head == "flatten" else layers.GlobalMaxPooling2D(name="head")(x)
    x = layers.Dense(config.dense_units, activation="relu", name="dense")(x)
    x = layers.Dropout(config.dropout, name="dropout")(x)
    # float32 under mixed precision too: float16 rounds probabilities near 0 and 1.
    x = layers.Dense(1 if classes == 2 else classes, dtype="float32", name=LOGITS)(x)
    outputs = layers.Activation("sigmoid" if classes == 2 else "softmax", dtype="float32", name="probability")(x)
    return keras.Model(inputs, outputs, name=f"cnn_{config.head}")


def train(
    shards: Shards,
    config: CnnConfig,
    *,
    logs_dir: Path | None = None,
    checkpoint_dir: Path | None = None,
    metrics_file: Path | None = None,
    cache_dir: Path | None = None,  # noqa: ARG001, as every architecture: this one has nothing to cache
) -> Trained:
    """Train the network, and score the validation split, on which its decisions are fitted."""
    model, history = fit(shards, config, logs_dir=logs_dir, checkpoint_dir=checkpoint_dir, metrics_file=metrics_file)
    network = CnnNetwork(model)
    (_, features, _), (scores, held_out, labels) = (
        _score_split(network, shards, config, split) for split in ("train", "validation")
    )
    description = f"{len(labels)} images of the validation split"
    distances = distances_to(features, held_out)
    return Trained(
        network,
        history,
        best_epoch=int(np.argmin(history["val_loss"])),
        calibration=CalibrationSet(scores, labels, description),
        in_distribution=fit_in_distribution(features, distances, description),
    )


def fit(
    shards: Shards,
    config: CnnConfig,
    *,
    logs_dir: Path | None = None,
    checkpoint_dir: Path | None = None,
    metrics_file: Path | None = None,
) -> tuple["keras.Model", History]:
    """Train on all local GPUs, in mixed precision if there is one; return the best epoch in float32 and all epochs' metrics.

    The best epoch has the lowest validation loss. With `checkpoint_dir` every epoch's state is saved, that of the callbacks
    included, and a training with the same images and hyper-parameters resumes from it.
    """
    import keras

    from components.callbacks import BEST_WEIGHTS, MetricsFile, Progress

    keras.utils.set_random_seed(config.seed)
    print(f"train: {shards.count('train')} images, {shards.count('validation')} for validation, {devices()}", flush=True)
    classes = len(shards.classes)
    with tempfile.TemporaryDirectory() as scratch:
        best_weights = Path(scratch) / BEST_WEIGHTS
        with strategy().scope(), mixed_precision():
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
        if not all(map(math.isfinite, checkpoint.history["val_loss"])):
            raise InputError(f"the validation loss is not finite (learning_rate={config.learning_rate}): lower the learning rate")
        best = build_model(config, classes)
        best.load_weights(best_weights)
    return best, checkpoint.history


def compile_model(model: "keras.Model", config: CnnConfig, classes: int) -> None:
    """Compile with Adam, cross-entropy and the published metrics: accuracy, precision, recall and AUC."""
    import keras

    loss: keras.losses.Loss = keras.losses.BinaryCrossentropy() if classes == 2 else keras.losses.CategoricalCrossentropy()
    threshold = 0.5 if config.threshold == "auto" else config.threshold
    accuracy: keras.metrics.Metric = (
        keras.metrics.BinaryAccuracy("accuracy", threshold=threshold)
        if classes == 2
        else keras.metrics.CategoricalAccuracy("accuracy")
    )
    thresholds = threshold if classes == 2 else None
    metrics = [
        accuracy,
        keras.metrics.Precision(thresholds=thresholds, name="precision"),
        keras.metrics.Recall(thresholds=thresholds, name="recall"),
        keras.metrics.AUC(name="auc", multi_label=classes > 2),
    ]
    model.compile(keras.optimizers.Adam(config.learning_rate), loss=loss, metrics=metrics)


def _score_split(network: CnnNetwork, shards: Shards, config: CnnConfig, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, pooled features and the indices of the classes of a split, in the order of the shards."""
    rows = [(*network.score(pixels), labels) for pixels, labels in unaugmented_batches(shards, config, split)]
    scores, features, labels = (np.concatenate([np.asarray(each) for each in column]) for column in zip(*rows, strict=True))
    return scores, features, labels.argmax(axis=1) if labels.shape[1] > 1 else labels[:, 0].astype(int)


def _checkpoint(folder: Path, shards: Shards, config: CnnConfig, best_weights: Path) -> "ResumableCheckpoint":
    """Return the checkpoint of the callbacks that watch the validation loss."""
    import keras

    from components.callbacks import ResumableCheckpoint

    template = str(best_weights).replace("{", "{{").replace("}", "}}")  # Keras fills in braces
    callbacks = [
        keras.callbacks.ModelCheckpoint(template, monitor="val_loss", save_best_only=True, save_weights_only=True),
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=config.reduce_lr_patience, min_lr=1e-6),
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=config.early_stopping_patience),
    ]
    return ResumableCheckpoint(folder, callbacks, best_weights=best_weights, identity=shards.identity(config))


def _run_epochs(model: "keras.Model", shards: Shards, config: CnnConfig, first_epoch: int, callbacks: list) -> None:
    model.fit(
        training_batches(shards, config, first_epoch),
        steps_per_epoch=steps_per_epoch(shards, config),
        epochs=config.epochs,
        initial_epoch=first_epoch,
        validation_data=unaugmented_batches(shards, config, "validation"),
        callbacks=callbacks,
        shuffle=False,  # the batches are shuffled already
        verbose=0,
    )
