"""Train on some images and predict others, through the graph that a model is served with."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.architectures import architecture_module
from components.dataset import ImagesZip, Sample
from components.decision import fit_decision
from components.files import atomic_write
from components.folds import folds_by_group
from components.hyperparameters import TrainConfig
from components.preprocess.preprocess import write_shards
from components.shards import open_shards
from components.train.served_model import served_model
from components.trained import Trained
from pipelines.cross_validation.data import ImageSet

BATCH_SIZE = 16
# One of this many folds of the training images steers early stopping, as the pipeline's validation split does.
VALIDATION_FOLDS = 6


@dataclass(frozen=True)
class Outputs:
    """A model's outputs for n images.

    Attributes:
        probability: Probability of each class, float64 [n, classes].
        predicted: Index of the predicted class, int [n].
        in_distribution: float64 [n], 0-1.
        uncertain: bool [n].
        minimum: Probability from which each class is in the conformal set, float64 [n, classes].
        temperature: Divisor of the scores, float64 [n].
    """

    probability: np.ndarray
    predicted: np.ndarray
    in_distribution: np.ndarray
    uncertain: np.ndarray
    minimum: np.ndarray
    temperature: np.ndarray

    def save(self, path: Path) -> None:
        """Write the outputs to a file, whole or not at all."""
        with atomic_write(path) as partial, partial.open("wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "Outputs":
        """Read the outputs from a file."""
        with np.load(path) as arrays:
            return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})

    @classmethod
    def of_probabilities(cls, probability: np.ndarray) -> "Outputs":
        """Return the outputs of a model that only has probabilities, float [n, classes]."""
        count = len(probability)
        return cls(
            probability=probability,
            predicted=probability.argmax(axis=1),
            in_distribution=np.ones(count),
            uncertain=np.zeros(count, dtype=bool),
            minimum=np.zeros_like(probability),
            temperature=np.ones(count),
        )

    def select(self, chosen: np.ndarray) -> "Outputs":
        """Return the outputs for the images at some indices, int [m]."""
        return type(self)(**{name: values[chosen] for name, values in vars(self).items()})

    @classmethod
    def join(cls, parts: Sequence["Outputs"], places: Sequence[np.ndarray]) -> "Outputs":
        """Put the outputs of several models together: those of part i at the indices `places[i]`."""
        order = np.argsort(np.concatenate(places))
        return cls(*(np.concatenate([getattr(part, name) for part in parts])[order] for name in cls.__dataclass_fields__))


class FittedModel:
    """A model as it is served: network, decision rules and distance in one graph."""

    def __init__(self, trained: Trained, classes: Sequence[str], config: TrainConfig):
        self.trained = trained
        self.classes = list(classes)
        self.decision, _ = fit_decision(trained.calibration, self.classes, config)
        self._served = served_model(trained.network, self.decision, trained.in_distribution)

    def predict(self, encoded: Sequence[bytes]) -> Outputs:
        """Return the outputs for encoded images."""
        return self._run("serving_default", encoded)[0]

    def explain(self, encoded: Sequence[bytes]) -> tuple[Outputs, list[np.ndarray]]:
        """Return the outputs and the heatmaps, float32 [h, w] in 0-1 each."""
        return self._run("explain", encoded)

    def _run(self, signature: str, encoded: Sequence[bytes]) -> tuple[Outputs, list[np.ndarray]]:
        import tensorflow as tf

        run = getattr(self._served, signature)
        rows: list[dict[str, np.ndarray]] = []
        for start in range(0, len(encoded), BATCH_SIZE):
            rows.append({name: value.numpy() for name, value in run(tf.constant(encoded[start : start + BATCH_SIZE])).items()})
        columns = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        probability = columns["probability"].astype(np.float64)
        if probability.shape[1] == 1:
            probability = np.hstack([1 - probability, probability])
        count = len(encoded)
        outputs = Outputs(
            probability=probability,
            predicted=np.array([self.classes.index(label.decode()) for label in columns["label"]]),
            in_distribution=columns["in_distribution"].astype(np.float64),
            uncertain=columns["uncertain"],
            minimum=np.tile(self.decision.min_probability.astype(np.float64), (count, 1)),
            temperature=np.full(count, self.decision.temperature),
        )
        return outputs, list(columns.get("heatmap", ()))


def train_on(
    images: ImageSet, archive: ImagesZip, chosen: np.ndarray, config: TrainConfig, *, seed: int, cache_dir: Path
) -> FittedModel:
    """Train on the images at some indices, int [n], as the train step does.

    Args:
        images: The data set.
        archive: Its images.zip.
        chosen: Indices of the training images.
        config: Hyper-parameters.
        seed: Seed of the validation split.
        cache_dir: Folder of what trainings on the same images share.
    """
    import keras

    keras.backend.clear_session()
    folds = folds_by_group(images.labels[chosen], images.groups[chosen], seed=seed, count=VALIDATION_FOLDS)
    samples = [
        Sample(images.sha256[i], int(images.groups[i]), images.classes[images.labels[i]], "train" if fold else "validation")
        for i, fold in zip(chosen, folds, strict=True)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        write_shards(archive, samples, Path(scratch) / "shards")
        shards = open_shards(Path(scratch) / "shards")
        trained = architecture_module(config).train(shards, config, cache_dir=cache_dir)
    return FittedModel(trained, images.classes, config)
