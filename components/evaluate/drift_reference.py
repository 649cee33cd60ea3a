"""Cumulative histograms of the held-out test set, the reference for the service's drift metrics."""

import math
from typing import Any

import numpy as np

# Upper bounds of Prometheus buckets. Never change them: live histograms and references are compared bucket by bucket.
BRIGHTNESS_BOUNDS = (0.05, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7, math.inf)
SIDE_PIXELS_BOUNDS = (64, 128, 160, 192, 224, 256, 320, 384, 512, 640, 768, 1024, 1536, 2048, math.inf)
CONFIDENCE_BOUNDS = (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, math.inf)


def drift_reference(brightness: np.ndarray, side_pixels: np.ndarray, confidence: np.ndarray) -> dict[str, dict[str, list[Any]]]:
    """Return the `reference` of evaluation.json.

    Args:
        brightness: Mean grey levels, float [n], 0-1.
        side_pixels: Longest sides, int [n].
        confidence: Probabilities of the predicted classes, float [n], 0-1.
    """
    return {
        "brightness": cumulative_fractions(brightness, BRIGHTNESS_BOUNDS),
        "side_pixels": cumulative_fractions(side_pixels, SIDE_PIXELS_BOUNDS),
        "confidence": cumulative_fractions(confidence, CONFIDENCE_BOUNDS),
    }


def cumulative_fractions(values: np.ndarray, bounds: tuple[float, ...]) -> dict[str, list[Any]]:
    """Return the fraction of `values`, float [n], at or below each bound as `share`; 1 without values.

    The last bound in `le` is `+Inf`.
    """
    fractions = [float((values <= bound).mean()) if len(values) else 1.0 for bound in bounds]
    return {"le": [bound if math.isfinite(bound) else "+Inf" for bound in bounds], "share": fractions}
