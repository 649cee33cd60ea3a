"""Predictions that several tests format."""

import numpy as np

from ui.client import Prediction

HEATMAP = np.array([[0, 0, 0], [0, 0, 1]], np.float32)
BINARY = Prediction("tumor", 0.1 + 0.2, 0.3, 0.1 + 0.2, "7", ("odd", "old"), HEATMAP)
FOUR = Prediction("glioma", {"glioma": 0.6, "meningioma": 0.3, "no_tumor": 0.1}, None, 0.6, "7", (), HEATMAP)
