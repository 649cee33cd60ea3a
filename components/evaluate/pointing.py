"""Score heatmaps against lesion masks."""

from collections.abc import Iterable

import numpy as np

from brain_tumor.overlay import scale_heatmap


def pointing_game(cases: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float] | None:
    """Return how often a heatmap peaks inside its lesion (Zhang et al. 2018, doi:10.1007/s11263-017-1059-x), without margin.

    Args:
        cases: Pairs of a heatmap, float [h, w], 0-1, and a lesion mask, bool [height, width].

    Returns:
        The number of `images`, the fraction with `peak_in_lesion`, the fraction whose lesion covers the image centre
        (the score of a `centred_blob`) and the mean `lesion_area` as a fraction of the image; None without cases.
    """
    rows = [(peak_in_mask(heatmap, mask), mask[mask.shape[0] // 2, mask.shape[1] // 2], mask.mean()) for heatmap, mask in cases]
    if not rows:
        return None
    hits, centred, areas = np.array(rows, dtype=np.float64).mean(axis=0).tolist()
    return {"images": len(rows), "peak_in_lesion": hits, "centred_blob": centred, "lesion_area": areas}


def peak_in_mask(heatmap: np.ndarray, mask: np.ndarray) -> bool:
    """Return whether a heatmap, float [h, w], scaled to the image peaks inside `mask`, bool [height, width].

    An empty heatmap has no peak.
    """
    heat = scale_heatmap(heatmap, mask.shape[1], mask.shape[0])
    return bool(heat.max() > 0 and mask.flat[heat.argmax()])
