"""Measure a model's explanations where the lesion is known, next to baselines and to the same model with randomised weights."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor.images import read_image
from brain_tumor.model_card import ModelCard
from components.dataset import ImagesZip
from components.evaluate.pointing import compare_with_baselines
from components.evaluate.predict import BATCH_SIZE, InferenceResults
from components.saved_model import SavedModel


def explanation_method(card: Mapping[str, Any]) -> str:
    """Return the method of a model's heatmaps, `grad_cam` or `evidence`, from its model.json; an early one does not name it."""
    return str(card.get("explanation", "grad_cam"))


def score_explanation(
    results: InferenceResults, archive: ImagesZip, card: ModelCard, model_dir: Path, *, seed: int
) -> dict[str, Any] | None:
    """Score the heatmaps of images with a known lesion that are predicted as a tumour: only those explain a tumour.

    Args:
        results: The model's results on the held-out test set.
        archive: The images and masks.
        card: The model card.
        model_dir: Folder of the SavedModel.
        seed: Seed of the random maps and of the randomised weights.

    Returns:
        The `method` and the result of `compare_with_baselines`; None without such an image.
    """
    is_tumor = results.predictions.is_tumor(results.predictions.predicted_labels)
    indices = [int(i) for i in np.flatnonzero(is_tumor) if archive.has_mask(results.samples[i].sha256)]
    if not indices:
        return None
    scores = compare_with_baselines(_heatmaps_and_masks(results, archive, indices, model_dir, seed=seed), seed=seed)
    return {"method": card.explanation, **(scores or {})}


def permute_weights(model: SavedModel, *, seed: int) -> None:
    """Permute the values of every weight array of the signature `explain`, which keeps their distribution.

    The model-parameter randomisation test of Adebayo et al. 2018, "Sanity checks for saliency maps": a heatmap that stays the
    same does not depend on what the model has learned.

    Args:
        model: The model to change. Nothing restores it.
        seed: Seed of the permutations.
    """
    for number, weights in enumerate(model.signatures["explain"].variables):
        values = weights.numpy()
        weights.assign(np.random.default_rng([seed, number]).permutation(values.ravel()).reshape(values.shape))


def _heatmaps_and_masks(
    results: InferenceResults, archive: ImagesZip, indices: list[int], model_dir: Path, *, seed: int
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Yield heatmaps and lesion mask of each image, with `BATCH_SIZE` images in memory."""
    randomised = SavedModel(model_dir)
    permute_weights(randomised, seed=seed)
    for start in range(0, len(indices), BATCH_SIZE):
        batch = indices[start : start + BATCH_SIZE]
        encoded = [read_image(archive.read_bytes(results.samples[i].sha256)).data for i in batch]
        # Permuted weights can overflow; such a heatmap counts as empty.
        heatmaps = np.nan_to_num(randomised.run_signature("explain", encoded)["heatmap"], posinf=0.0)
        for index, heatmap in zip(batch, heatmaps, strict=True):
            if (mask := archive.read_mask(results.samples[index].sha256)) is not None:
                yield {"model": results.heatmaps[index], "randomised_weights": heatmap}, mask
    print(f"evaluate: compared {len(indices)} explanations with baselines", flush=True)
