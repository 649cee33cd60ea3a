"""Heatmaps in a file."""

import numpy as np
import pytest

from components.evaluate.predict import StoredHeatmaps


def test_heatmaps_are_read_as_they_were_stored() -> None:
    heatmaps, stored = np.random.default_rng(0).random((5, 3, 4), np.float32), StoredHeatmaps()
    stored.extend(heatmaps[:2])
    assert (stored[1] == heatmaps[1]).all()
    stored.extend(heatmaps[2:])
    assert len(stored) == 5
    assert all((stored[index] == heatmaps[index]).all() for index in (4, 0, 3))
    assert stored[0].dtype == np.float32
    with pytest.raises(IndexError, match="heatmap 5 of 5"):
        stored[5]
