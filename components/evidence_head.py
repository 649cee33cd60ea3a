"""Fit the evidence head: one linear map from features to evidence at each cell, pooled to a score by log-sum-exp.

The pooling is that of Pinheiro and Collobert 2015, "From image-level to pixel-level labeling with convolutional networks":
score = log(mean(exp(sharpness * evidence))) / sharpness, between the mean and the maximum of the evidence.

Several heads are fitted at a time, as they share the reading of the features: one for each fold, on the images of the others,
and one on all images.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brain_tumor.errors import InputError
from components.decision import score_metrics
from components.feature_cache import CachedFeatures
from components.files import atomic_write
from components.trained import History

if TYPE_CHECKING:
    import tensorflow as tf

MIN_SCALE = 1e-3
IMAGE, MIRROR_IMAGE = 0, 1  # the first two views


@dataclass(frozen=True)
class Heads:
    """Linear maps from features to evidence: kernel, float32 [C, heads, K], and bias, float32 [heads, K]."""

    kernel: np.ndarray
    bias: np.ndarray

    def evidence(self, features: np.ndarray) -> np.ndarray:
        """Return the evidence, float32 [n, cells, cells, heads, K], of features, float32 [n, cells, cells, C]."""
        return np.tensordot(features, self.kernel, axes=1) + self.bias


def pool_evidence(evidence: np.ndarray, sharpness: float) -> np.ndarray:
    """Return the score, float32 [n, ...], of evidence, float32 [n, cells, cells, ...]."""
    highest = evidence.max(axis=(1, 2), keepdims=True)
    mean = np.exp((evidence - highest) * sharpness).mean(axis=(1, 2))
    return (highest[:, 0, 0] + np.log(mean) / sharpness).astype(np.float32)


def log_sum_exp(evidence: "tf.Tensor", sharpness: float) -> "tf.Tensor":
    """Return what `pool_evidence` does, in a graph: float32 [n, ...] of float32 [n, cells, cells, ...]."""
    import tensorflow as tf

    cells = tf.cast(tf.shape(evidence)[1] * tf.shape(evidence)[2], tf.float32)
    return (tf.reduce_logsumexp(evidence * sharpness, axis=(1, 2)) - tf.math.log(cells)) / sharpness


class HeadTraining:
    """A training of all heads by AdamW with a cosine schedule; the result is the mean of the weights of the second half.

    Args:
        features: Features of n images; view 0 is the image, view 1 its mirror image.
        labels: Indices of the classes, int [n].
        folds: Fold of each image, int [n], from 0.
        classes: Number of classes. Two have one evidence map, more have one each.
        config: Hyper-parameters of the architecture `evidence`.
    """

    def __init__(self, features: CachedFeatures, labels: np.ndarray, folds: np.ndarray, classes: int, config: Any):
        import keras
        import tensorflow as tf

        self.features, self.labels, self.folds, self.config = features, labels, folds, config
        self.views = [view for view in range(features.view_count) if config.horizontal_flip or view != MIRROR_IMAGE]
        self.heads, self.maps = int(folds.max()) + 2, 1 if classes == 2 else classes
        # Head h is not taught by fold h; the last one is taught by all images.
        self.taught_by = (folds[:, None] != np.arange(self.heads)).astype(np.float32)
        self.targets = labels[:, None].astype(np.float32) if classes == 2 else np.eye(classes, dtype=np.float32)[labels]
        self.mean, self.scale = _channel_statistics(features)
        rng = np.random.default_rng(config.seed)
        columns = self.heads * self.maps
        start = np.tile(rng.normal(0, 1e-3, (len(self.mean), 1, self.maps)), (1, self.heads, 1)).reshape(-1, columns)
        self.kernel = tf.Variable(start.astype(np.float32), name="kernel")
        self.bias = tf.Variable(np.zeros(columns, np.float32), name="bias")
        self.steps = max(1, len(features) * len(self.views) // config.batch_size)
        schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, self.steps * config.epochs)
        self.optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay)
        self.optimizer.exclude_from_weight_decay(var_names=["bias"])
        self.optimizer.build([self.kernel, self.bias])
        self.sums = [np.zeros(self.kernel.shape), np.zeros(self.bias.shape)]
        self.summed = 0
        self._step = tf.function(self._train_step, reduce_retracing=True, autograph=False)

    def run_epoch(self, epoch: int) -> float:
        """Run one epoch over all views; return the mean loss of the head that all images teach."""
        import tensorflow as tf

        pairs = np.random.default_rng([self.config.seed, epoch]).permutation(len(self.features) * len(self.views))
        size = min(self.config.batch_size, len(pairs))
        losses = []
        for start in range(0, self.steps * size, size):
            images, views = np.divmod(pairs[start : start + size], len(self.views))
            batch = self.features.views(images, np.array(self.views)[views])
            losses.append(self._step(tf.constant(batch), tf.constant(self.targets[images]), tf.constant(self.taught_by[images])))
            if epoch >= self.config.epochs // 2:
                self.sums[0] += self.kernel.numpy()
                self.sums[1] += self.bias.numpy()
                self.summed += 1
        return float(np.mean(losses))

    def result(self) -> Heads:
        """Return the heads for features that are not standardised."""
        kernel, bias = [each / self.summed for each in self.sums] if self.summed else [self.kernel.numpy(), self.bias.numpy()]
        kernel = kernel / self.scale[:, None]
        bias = bias - self.mean @ kernel
        return Heads(
            kernel.reshape(-1, self.heads, self.maps).astype(np.float32), bias.reshape(self.heads, self.maps).astype(np.float32)
        )

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of all images by the head of their fold, and by the head that all images taught: float32 [n, K]."""
        heads, held_out, taught = self.result(), [], []
        for images in self.features.batches():
            evidence = heads.evidence(self.features.views(images, IMAGE))
            if self.config.mirror:
                evidence = (evidence + heads.evidence(self.features.views(images, MIRROR_IMAGE))[:, :, ::-1]) / 2
            scores = pool_evidence(evidence, self.config.sharpness)
            held_out.append(scores[np.arange(len(images)), self.folds[images]])
            taught.append(scores[:, -1])
        return np.concatenate(held_out), np.concatenate(taught)

    def save(self, path: Path) -> None:
        """Write the state to a file."""
        state = [self.kernel, self.bias, *self.optimizer.variables]
        arrays = {f"state_{number}": variable.numpy() for number, variable in enumerate(state)}
        with path.open("wb") as file:
            np.savez(file, kernel_sum=self.sums[0], bias_sum=self.sums[1], summed=self.summed, **arrays)

    def restore(self, path: Path) -> None:
        """Read the state from a file."""
        with np.load(path) as arrays:
            self.sums, self.summed = [arrays["kernel_sum"], arrays["bias_sum"]], int(arrays["summed"])
            for number, variable in enumerate([self.kernel, self.bias, *self.optimizer.variables]):
                variable.assign(arrays[f"state_{number}"])

    def _train_step(self, batch: "tf.Tensor", targets: "tf.Tensor", taught_by: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        smoothing = self.config.label_smoothing
        smooth = (targets * (1 - smoothing) + smoothing / max(2, self.maps))[:, None, :]
        with tf.GradientTape() as tape:
            kernel = self.kernel / self.scale[:, None]
            evidence = tf.tensordot(batch, kernel, axes=1) + self.bias - tf.linalg.matvec(kernel, self.mean, transpose_a=True)
            score = tf.reshape(log_sum_exp(evidence, self.config.sharpness), [-1, self.heads, self.maps])
            smooth = tf.broadcast_to(smooth, tf.shape(score))
            if self.maps == 1:
                loss = tf.nn.sigmoid_cross_entropy_with_logits(smooth, score)[..., 0]
            else:
                loss = tf.nn.softmax_cross_entropy_with_logits(smooth, score)
            by_head = tf.math.divide_no_nan(tf.reduce_sum(loss * taught_by, axis=0), tf.reduce_sum(taught_by, axis=0))
            total = tf.reduce_sum(by_head)
        self.optimizer.apply_gradients(zip(tape.gradient(total, [self.kernel, self.bias]), [self.kernel, self.bias], strict=True))
        return by_head[-1]


def _channel_statistics(features: CachedFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel over all images and cells, float32 [C]."""
    total, squares, count = np.zeros(features.channels), np.zeros(features.channels), 0
    for images in features.batches():
        values = features.views(images, IMAGE).reshape(-1, features.channels).astype(np.float64)
        total, squares, count = total + values.sum(axis=0), squares + np.square(values).sum(axis=0), count + len(values)
    mean = total / count
    scale = np.sqrt(np.maximum(squares / count - np.square(mean), 0)) + MIN_SCALE
    return mean.astype(np.float32), scale.astype(np.float32)


def run_epochs(
    training: HeadTraining, identity: str, *, logs_dir: Path | None, checkpoint_dir: Path | None, metrics_file: Path | None
) -> History:
    """Train for all epochs, from the last one of a killed training with the same images and hyper-parameters on."""
    import tensorflow as tf

    from components.callbacks import MetricsFile, Progress

    history, checkpoint = _restore(training, identity, checkpoint_dir)
    progress = Progress(training.config.epochs)
    metrics = MetricsFile(metrics_file, history) if metrics_file else None
    writer = tf.summary.create_file_writer(str(logs_dir)) if logs_dir else tf.summary.create_noop_writer()
    for epoch in range(len(history.get("loss", [])), training.config.epochs):
        progress.on_epoch_begin(epoch)
        loss = training.run_epoch(epoch)
        if not math.isfinite(loss):
            raise InputError(f"the loss is not finite (learning_rate={training.config.learning_rate}): lower the learning rate")
        held_out, taught = (score_metrics(scores, training.labels) for scores in training.scores())
        values = taught | {"loss": loss} | {f"val_{name}": value for name, value in held_out.items()}
        for name, value in values.items():
            history.setdefault(name, []).append(value)
            with writer.as_default():
                tf.summary.scalar(name, value, step=epoch)
        if checkpoint:
            with atomic_write(checkpoint) as partial:
                partial.mkdir()
                training.save(partial / "head.npz")
                (partial / "state.json").write_text(json.dumps({"identity": identity, "history": history}))
        progress.on_epoch_end(epoch, values)
        if metrics:
            metrics.on_epoch_end(epoch, values)
    writer.close()
    return history


def _restore(training: HeadTraining, identity: str, checkpoint_dir: Path | None) -> tuple[History, Path | None]:
    """Return the history of a killed training, whose state is loaded, and the folder of the checkpoint."""
    if checkpoint_dir is None:
        return {}, None
    checkpoint = checkpoint_dir / "head"
    if not checkpoint.exists():
        return {}, checkpoint
    state = json.loads((checkpoint / "state.json").read_text())
    if state["identity"] != identity:
        print("train: the checkpoint has other images or hyper-parameters: starting from the first epoch", flush=True)
        return {}, checkpoint
    training.restore(checkpoint / "head.npz")
    print(f"train: resuming after epoch {len(state['history']['loss'])}", flush=True)
    return state["history"], checkpoint
