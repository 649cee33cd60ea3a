"""A frozen ImageNet network on the brain crop with one evidence map, which is pooled to the score and is its explanation."""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from components.augmentation import augment, augmentation_ranges
from components.decode import decode_batch
from components.efficientnet_lite0 import CHANNELS, SIDE_MULTIPLE_PX, build_backbone, grid_cells, weights_source
from components.evidence_head import IMAGE, MIRROR_IMAGE, Heads, HeadTraining, log_sum_exp, run_epochs
from components.feature_cache import CachedFeatures, FeatureCache
from components.folds import folds_by_group
from components.hyperparameters import BatchSize, Epochs, ImageSizePx, LearningRate, Threshold, TrainConfig, Zoom
from components.in_distribution import fit_in_distribution, held_out_distances
from components.shards import TRAINING_SPLITS, Record, Shards, read_records
from components.trained import CalibrationSet, Decide, Network, Trained

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# Above this size of the feature cache, fewer views of each image are cached.
CACHE_LIMIT_BYTES = 4_000_000_000


class EvidenceConfig(TrainConfig):
    """The hyper-parameters of `evidence`."""

    scores_by_fold: ClassVar[bool] = True
    architecture: Literal["evidence"] = "evidence"
    image_size_px: Annotated[ImageSizePx, Field(multiple_of=SIDE_MULTIPLE_PX)] = 192
    learning_rate: LearningRate = 1e-2
    batch_size: BatchSize = 64
    epochs: Epochs = 20
    zoom: Zoom = 0.12
    threshold: Threshold = "auto"
    views: int = Field(default=8, ge=2, description="Views of each image: the image, its mirror image, the others augmented.")
    shift: float = Field(default=0.05, ge=0, lt=1, description="Augmentation: maximum shift, as a fraction of the size.")
    gamma: float = Field(
        default=0.2, ge=0, le=2, description="Augmentation: maximum logarithm of the exponent of the grey levels, either way."
    )
    weight_decay: float = Field(default=4.0, ge=0, description="Weight decay of AdamW.")
    label_smoothing: float = Field(default=0.05, ge=0, lt=1, description="Part of each target that is spread over all classes.")
    sharpness: float = Field(
        default=5.0,
        gt=0,
        le=100,
        description="Sharpness of the log-sum-exp pooling: near 0 the mean of the evidence, at 100 its maximum.",
    )
    mirror: bool = Field(default=False, description="At prediction, average the evidence of the image and of its mirror image.")


class EvidenceNetwork(Network):
    """The frozen network with the evidence head as its last convolution."""

    architecture = explanation = "evidence"
    crops_brain = True

    def __init__(self, backbone: "keras.Model", heads: Heads, config: EvidenceConfig):
        import keras
        from keras import layers

        maps = backbone.output
        head = layers.Conv2D(heads.kernel.shape[-1], 1, name="evidence")
        evidence, pooled = head(maps), layers.GlobalAveragePooling2D(name="pooled")(maps)
        head.set_weights([heads.kernel[None, None, :, -1], heads.bias[-1]])
        self.model = keras.Model(backbone.input, [evidence, pooled, maps])
        self.parts = (self.model,)
        self.image_size_px, self.sharpness, self.mirror = config.image_size_px, config.sharpness, config.mirror
        self.weights = weights_source()

    def score(self, pixels: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        evidence, pooled = self._evidence(pixels)
        return log_sum_exp(evidence, self.sharpness), pooled

    def explain(self, pixels: "tf.Tensor", decide: Decide) -> tuple["tf.Tensor", "tf.Tensor", "tf.Tensor"]:
        """Return score, features and the evidence for the predicted class above what would suffice for another class."""
        import tensorflow as tf

        evidence, pooled = self._evidence(pixels)
        score = log_sum_exp(evidence, self.sharpness)
        index, boundary = decide(score)
        boundary = boundary[:, None, None]
        if evidence.shape[-1] == 1:
            above = evidence[..., 0] - boundary
            above = tf.where(index[:, None, None] == 1, above, -above)
        else:
            above = tf.gather(evidence, index, axis=-1, batch_dims=1) - boundary
        return score, pooled, tf.nn.relu(above)

    def reference_heatmap(self, pixels: "tf.Tensor", index: int, boundary: float) -> np.ndarray:
        kernel, bias = (array[0, 0] if array.ndim == 4 else array for array in self.model.get_layer("evidence").get_weights())
        maps = self.model(pixels, training=False)[2].numpy()[0]
        evidence = maps @ kernel + bias
        if self.mirror:
            mirrored = self.model(pixels[:, :, ::-1], training=False)[2].numpy()[0]
            evidence = (evidence + (mirrored @ kernel + bias)[:, ::-1]) / 2
        if evidence.shape[-1] == 1:
            evidence, boundary = (evidence, boundary) if index == 1 else (-evidence, -boundary)
            index = 0
        return np.maximum(evidence[..., index] - boundary, 0)

    def _evidence(self, pixels: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        """Return the evidence, float32 [N, cells, cells, K], and the pooled features, float32 [N, 304]."""
        import tensorflow as tf

        if not self.mirror:
            evidence, pooled, _ = self.model(pixels, training=False)
            return evidence, pooled
        evidence, pooled, _ = self.model(tf.concat([pixels, pixels[:, :, ::-1]], axis=0), training=False)
        count = tf.shape(pixels)[0]
        return (evidence[:count] + evidence[count:, :, ::-1]) / 2, (pooled[:count] + pooled[count:]) / 2


def train(
    shards: Shards,
    config: EvidenceConfig,
    *,
    logs_dir: Path | None = None,
    checkpoint_dir: Path | None = None,
    metrics_file: Path | None = None,
    cache_dir: Path | None = None,
) -> Trained:
    """Compute the features of all training and validation images once, and fit the evidence head on them.

    With `checkpoint_dir` or `cache_dir` the features of a killed training are not computed again.
    """
    total = sum(shards.count(split) for split in TRAINING_SPLITS)
    backbone = build_backbone(config.image_size_px)
    with tempfile.TemporaryDirectory() as scratch:
        cache = _open_cache(cache_dir or checkpoint_dir or Path(scratch), total, config)
        records: list[Record] = []
        cache.add(_remember(read_records(shards, *TRAINING_SPLITS), records), _compute_views(backbone, config), total=total)
        features = cache.read([record.sha256 for record in records])
        labels, groups = (np.array([getattr(record, name) for record in records]) for name in ("label", "group"))
        folds = folds_by_group(labels, groups, seed=config.seed)
        training = HeadTraining(features, labels, folds, len(shards.classes), config)
        identity = shards.identity(config)
        history = run_epochs(training, identity, logs_dir=logs_dir, checkpoint_dir=checkpoint_dir, metrics_file=metrics_file)
        scores, _ = training.scores()
        pooled = _pooled_features(features, config.mirror)
    description = f"{total} training images, each scored without its fold of {folds.max() + 1} by group"
    return Trained(
        EvidenceNetwork(backbone, training.result(), config),
        history,
        best_epoch=config.epochs - 1,
        calibration=CalibrationSet(scores, labels, description),
        in_distribution=fit_in_distribution(pooled, held_out_distances(pooled, folds), description),
    )


def _open_cache(folder: Path, images: int, config: EvidenceConfig) -> FeatureCache:
    cells = grid_cells(config.image_size_px)
    view_bytes = cells * cells * CHANNELS * np.dtype(np.float16).itemsize
    views = max(MIRROR_IMAGE + 1, min(config.views, CACHE_LIMIT_BYTES // (images * view_bytes)))
    if views < config.views:
        print(f"train: {views} of {config.views} views of each image fit into {CACHE_LIMIT_BYTES / 1e9:g} GB", flush=True)
    print(f"train: the features of {images} images take {images * views * view_bytes / 1e6:.0f} MB of disk", flush=True)
    identity = [weights_source()["sha256"], config.image_size_px, augmentation_ranges(config), config.seed]
    return FeatureCache(folder, (views, cells, cells, CHANNELS), identity)


def _remember(records: Iterator[Record], seen: list[Record]) -> Iterator[Record]:
    """Pass the records on, and append them to a list without their bytes."""
    for record in records:
        seen.append(dataclasses.replace(record, image_bytes=b""))
        yield record


def _compute_views(backbone: "keras.Model", config: EvidenceConfig) -> Callable[[Sequence[Record], int], "tf.Tensor"]:
    """Return the function from records and a number of views to their features, float32 [n, views, cells, cells, 304]."""
    import tensorflow as tf

    run = tf.function(lambda pixels: backbone(pixels, training=False), reduce_retracing=True, autograph=False)

    def compute(records: Sequence[Record], views: int) -> "tf.Tensor":
        images, _ = decode_batch(tf.constant([record.image_bytes for record in records]), config.image_size_px, crop=True)
        batch = []
        for record, pixels in zip(records, images, strict=True):
            batch += [pixels[None], pixels[None, :, ::-1]]
            seed = tf.constant([config.seed, int(record.sha256[:15], 16)], tf.int64)
            if views > MIRROR_IMAGE + 1:
                copies = tf.repeat(pixels[None], views - MIRROR_IMAGE - 1, axis=0)
                batch.append(augment(copies, **augmentation_ranges(config), seed=seed))
        features = run(tf.concat(batch, axis=0))
        return tf.reshape(features, [len(records), views, *features.shape[1:]])

    return compute


def _pooled_features(features: CachedFeatures, mirror: bool) -> np.ndarray:
    """Return the features of each image that its distance is measured in, float32 [n, 304]."""
    pooled = []
    for images in features.batches():
        views = [features.views(images, view).mean(axis=(1, 2)) for view in ((IMAGE, MIRROR_IMAGE) if mirror else (IMAGE,))]
        pooled.append(np.mean(views, axis=0))
    return np.concatenate(pooled)
