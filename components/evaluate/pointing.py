"""Score heatmaps against lesion masks."""

from collections.abc import Iterable

import numpy as np

from brain_tumor.overlay import scale_heatmap


def pointing_game(cases: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float] | None:
    """Return how often a heatmap's peak lies inside its lesion (Zhang et al. 2018, doi:10.1007/s11263-017-1059-x), no margin.

    Args:
        cases: pairs of a heatmap, float [h, w], 0-1, and a lesion's mask, bool [height, width].

    Returns:
        The number of `images`, the share with `peak_in_lesion`, the share whose lesion covers the image's centre
        (what a `centred_blob` would score) and the mean `lesion_area`; None without a case.
    """
    rows = [(peak_in_mask(heatmap, mask), mask[mask.shape[0] // 2, mask.shape[1] // 2], mask.mean()) for heatmap, mask in cases]
    if not rows:
        return None
    hits, centred, areas = np.array(rows, dtype=np.float64).mean(axis=0).tolist()
    return {"images": len(rows), "peak_in_lesion": hits, "centred_blob": centred, "lesion_area": areas}


def peak_in_mask(heatmap: np.ndarray, mask: np.ndarray) -> bool:
    """Whether a heatmap, float [h, w], scaled to the image peaks inside `mask`, bool [height, width]; an empty one misses."""
    heat = scale_heatmap(heatmap, mask.shape[1], mask.shape[0])
    return bool(heat.max() > 0 and mask.flat[heat.argmax()])
