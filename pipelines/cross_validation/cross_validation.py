"""Measure an architecture by cross-validation over groups of near copies, beside baselines and on external sets."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor.classes import NO_TUMOR
from brain_tumor.model_card import NOTICE
from components.dataset import ImagesZip
from components.evaluate.pointing import compare_with_baselines
from components.files import atomic_write
from components.folds import folds_by_group
from components.hyperparameters import TrainConfig
from pipelines.cross_validation import baselines
from pipelines.cross_validation.data import ImageSet, is_copy
from pipelines.cross_validation.scores import BASELINE_SCORES, EXTERNAL_SCORES, scores_of
from pipelines.cross_validation.training import FittedModel, Outputs, train_on


class CrossValidation:
    """A cross-validation in a folder, where the predictions of each fold are kept.

    Args:
        images: The data set.
        folder: Folder of the data set and of this cross-validation's results.
        config: Hyper-parameters.
        folds: Number of folds.
        seeds: Number of seeds of the folds.
    """

    def __init__(self, images: ImageSet, folder: Path, config: TrainConfig, *, folds: int, seeds: int):
        self.images, self.config, self.folds, self.seeds = images, config, folds, seeds
        self.folder, self.archive = folder, ImagesZip(folder / "images.zip")
        identity = f"{sorted(zip(images.sha256, images.groups.tolist(), strict=True))} {config!r}"
        self.predictions = folder / f"{config.architecture}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        self.is_tumor = np.array([name != NO_TUMOR for name in images.classes])
        self.trained, self.started = 0, time.monotonic()
        self._on_all: FittedModel | None = None

    def run(self, external: Sequence[ImageSet]) -> dict[str, Any]:
        """Return the content of cv.json."""
        by_group = self.by_group()
        random = self._pooled("random-0", np.arange(len(self.images)), 0)
        rows = {
            f"{self.config.architecture}, folds by group": self._scores(by_group),
            f"{self.config.architecture}, random folds, which leak near copies": self._scores([random]),
        }
        for name, predict in self._baselines().items():
            predicted = [self._pooled_baseline(predict, seed) for seed in range(self.seeds)]
            rows[name] = self._scores(predicted, BASELINE_SCORES)
        return {
            "notice": NOTICE,
            "source": self.images.name,
            "architecture": self.config.architecture,
            "hyperparameters": self.config.model_dump(),
            "folds": self.folds,
            "seeds": self.seeds,
            "classes": self.images.classes,
            "images": len(self.images),
            "groups": len(np.unique(self.images.groups)),
            "rows": rows,
            "external": {each.name: self._external(each) for each in external},
        }

    def by_group(self) -> list[Outputs]:
        """Return the outputs for all images with folds by group, for each seed."""
        return [self._pooled(f"group-{seed}", self.images.groups, seed) for seed in range(self.seeds)]

    def _pooled(self, name: str, groups: np.ndarray, seed: int) -> Outputs:
        """Return the outputs for all images, each of a model trained without its fold."""
        fold_of = folds_by_group(self.images.labels, groups, seed=seed, count=self.folds)
        parts, places = [], []
        for fold in np.unique(fold_of):
            test = np.flatnonzero(fold_of == fold)
            path = self.predictions / f"{name}-{self.folds}-{fold}.npz"
            if not path.exists():
                model = self._train(np.flatnonzero(fold_of != fold), seed, f"{name}, fold {fold + 1} of {self.folds}")
                model.predict([self.images.encoded[i] for i in test]).save(path)
            parts.append(Outputs.load(path))
            places.append(test)
        return Outputs.join(parts, places)

    def _train(self, chosen: np.ndarray, seed: int, what: str) -> FittedModel:
        total = (self.seeds + 1) * self.folds + 1
        self.trained += 1
        minutes = (time.monotonic() - self.started) / 60
        print(
            f"cv: {what}: {len(chosen)} training images; training {self.trained} of at most {total}, {minutes:.0f} min",
            flush=True,
        )
        return train_on(self.images, self.archive, chosen, self.config, seed=seed, cache_dir=self.folder / "features")

    def _baselines(self) -> dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]]:
        features = baselines.frozen_features(self.images)
        return {
            "most frequent class": lambda train, test, _: baselines.majority(self.images, train, test),
            "geometry of the files, no pixel": lambda train, test, _: baselines.geometry(self.images, train, test),
            "logistic regression on frozen features": lambda train, test, seed: baselines.frozen_logistic_regression(
                self.images, features, train, test, seed=seed
            ),
        }

    def _pooled_baseline(self, predict: Callable[[np.ndarray, np.ndarray, int], np.ndarray], seed: int) -> Outputs:
        fold_of = folds_by_group(self.images.labels, self.images.groups, seed=seed, count=self.folds)
        probability = np.zeros((len(self.images), len(self.images.classes)))
        for fold in np.unique(fold_of):
            inside = fold_of == fold
            probability[inside] = predict(np.flatnonzero(~inside), np.flatnonzero(inside), seed)
        return Outputs.of_probabilities(probability)

    def _scores(self, outputs: Sequence[Outputs], *names: Sequence[str]) -> dict[str, Any]:
        return scores_of(outputs, self.images.labels, self.images.groups, self.images.classes, self.is_tumor, *names)

    def _external(self, images: ImageSet) -> dict[str, Any]:
        """Return the scores of a model trained on all images, on an external set and on its images that are copies of none."""
        path = self.predictions / f"external-{images.fingerprint}-scores.json"
        if not path.exists():
            if self._on_all is None:
                self._on_all = self._train(np.arange(len(self.images)), 0, "all images, for the external sets")
            outputs, heatmaps = self._on_all.explain(images.encoded)
            new = np.flatnonzero(~is_copy(images, self.images))
            scores = self._external_scores(images, outputs, heatmaps)
            if 0 < len(new) < len(images):
                some = [heatmaps[i] for i in new]
                scores["without_copies"] = self._external_scores(images.select(new), outputs.select(new), some)
            with atomic_write(path) as partial:
                partial.write_text(json.dumps(scores))
        return json.loads(path.read_text())

    def _external_scores(self, images: ImageSet, outputs: Outputs, heatmaps: Sequence[np.ndarray]) -> dict[str, Any]:
        tumors = zip(heatmaps, images.masks, self.is_tumor[outputs.predicted], strict=True)
        cases = (({"model": heatmap}, mask) for heatmap, mask, is_tumor in tumors if is_tumor and mask is not None)
        return {
            "images": len(images),
            "scores": scores_of([outputs], images.labels, images.groups, images.classes, self.is_tumor, EXTERNAL_SCORES),
            "pointing": compare_with_baselines(cases, seed=0),
        }
