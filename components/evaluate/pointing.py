"""Score heatmaps against lesion masks, and against baselines that know nothing of the image."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brain_tumor.overlay import scale_heatmap

# Candidates for the threshold of the IoU: 0.05, 0.1, ..., 0.95.
IOU_STEPS = 20
IOU_THRESHOLDS = np.arange(1, IOU_STEPS) / IOU_STEPS
RANDOM_MAPS = 5
BLOB_SIGMA = 1 / 6  # of the image's sides


@dataclass(frozen=True)
class HeatmapScore:
    """How well one heatmap finds one lesion. An empty heatmap has no peak and scores 0.

    Attributes:
        peak_in_lesion: Whether the heatmap peaks in the lesion: the pointing game (Zhang et al. 2018,
            doi:10.1007/s11263-017-1059-x), without tolerance.
        peak_within_cell: Whether the lesion has a pixel within one cell of the heatmap's grid from the peak, in both axes.
        heat_inside: Fraction of the sum of the heatmap that lies in the lesion, 0-1.
        iou: Intersection over union of the lesion and the region at or above each of `IOU_THRESHOLDS`, float64 [19], 0-1.
    """

    peak_in_lesion: bool
    peak_within_cell: bool
    heat_inside: float
    iou: np.ndarray


def compare_with_baselines(cases: Iterable[tuple[Mapping[str, np.ndarray], np.ndarray]], *, seed: int) -> dict[str, Any] | None:
    """Return the mean scores of heatmaps, next to those of a centred Gaussian blob and of random maps.

    Args:
        cases: For each image its heatmaps by row, float [h, w], 0-1, with at least the row `model`, and the lesion mask,
            bool [height, width].
        seed: Seed of the random maps, `RANDOM_MAPS` for each image.

    Returns:
        The number of `images`; `rows`, from row to the means of `summarise`, each with the IoU at its own best threshold; the
        model's `iou_threshold`; and the mean `lesion_area` as a fraction of the image. None without cases.
    """
    scores: dict[str, list[HeatmapScore]] = {name: [] for name in ("model", "centred_blob", "random")}
    areas = []
    for number, (heatmaps, mask) in enumerate(cases):
        grid = heatmaps["model"].shape
        noise = np.random.default_rng([seed, number]).random((RANDOM_MAPS, *grid))
        scores["centred_blob"].append(score_heatmap(centred_blob(*mask.shape), mask, grid))
        scores["random"] += [score_heatmap(each, mask) for each in noise]
        for name, heatmap in heatmaps.items():
            scores.setdefault(name, []).append(score_heatmap(heatmap, mask))
        areas.append(mask.mean())
    if not areas:
        return None
    means = {name: summarise(each) for name, each in scores.items()}
    return {
        "images": len(areas),
        "rows": {name: row for name, (row, _) in means.items()},
        "iou_threshold": means["model"][1],
        "lesion_area": float(np.mean(areas)),
    }


def summarise(scores: Sequence[HeatmapScore]) -> tuple[dict[str, float], float]:
    """Return the mean scores, and the threshold of `iou`: that of `IOU_THRESHOLDS` with the highest mean IoU on these images."""
    iou = np.mean([score.iou for score in scores], axis=0)
    row = {
        name: float(np.mean([getattr(score, name) for score in scores]))
        for name in ("peak_in_lesion", "peak_within_cell", "heat_inside")
    }
    return row | {"iou": float(iou.max())}, float(IOU_THRESHOLDS[iou.argmax()])


def score_heatmap(heatmap: np.ndarray, mask: np.ndarray, grid: tuple[int, ...] | None = None) -> HeatmapScore:
    """Score a heatmap, scaled to the image, against a lesion.

    Args:
        heatmap: float [h, w], 0-1.
        mask: The lesion, bool [height, width].
        grid: Rows and columns of the cells that the tolerance is measured in; by default those of the heatmap.
    """
    heat = scale_heatmap(heatmap, mask.shape[1], mask.shape[0])
    total = heat.sum(dtype=np.float64)
    if not total > 0:
        return HeatmapScore(False, False, 0.0, np.zeros(len(IOU_THRESHOLDS)))
    peak = np.unravel_index(heat.argmax(), heat.shape)
    cell_px = [side / cells for side, cells in zip(mask.shape, grid or heatmap.shape, strict=True)]
    near = tuple(
        slice(max(0, math.ceil(at - reach)), math.floor(at + reach) + 1) for at, reach in zip(peak, cell_px, strict=True)
    )
    return HeatmapScore(
        peak_in_lesion=bool(mask[peak]),
        peak_within_cell=bool(mask[near].any()),
        heat_inside=float(heat[mask].sum(dtype=np.float64) / total),
        iou=_iou(heat, mask),
    )


def peak_in_mask(heatmap: np.ndarray, mask: np.ndarray) -> bool:
    """Return whether a heatmap, float [h, w], scaled to the image peaks inside `mask`, bool [height, width].

    An empty heatmap has no peak.
    """
    return score_heatmap(heatmap, mask).peak_in_lesion


def centred_blob(height_px: int, width_px: int) -> np.ndarray:
    """Return a Gaussian at the centre, float64 [height_px, width_px], 0-1, with `BLOB_SIGMA` of each side."""
    rows, columns = (
        np.exp(-(((np.arange(side) - (side - 1) / 2) / side / BLOB_SIGMA) ** 2) / 2) for side in (height_px, width_px)
    )
    return np.outer(rows, columns)


def _iou(heat: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the IoU at each threshold, float64 [19], of heat, float32 [height, width], 0-1; counted by level, in one pass."""
    levels = (heat * IOU_STEPS).astype(np.intp)
    region, inside = (
        np.bincount(each, minlength=IOU_STEPS + 1)[::-1].cumsum()[::-1][1:IOU_STEPS] for each in (levels.ravel(), levels[mask])
    )
    return inside / (region + mask.sum() - inside)
