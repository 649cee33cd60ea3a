from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from components.feature_cache import FeatureCache
from components.shards import Record

SHAPE = (2, 1, 1, 3)


def records(*numbers: int) -> list[Record]:
    return [Record(f"sha{number}", 0, number, b"") for number in numbers]


class Counting:
    """Computes features that tell image and view, and counts the images."""

    def __init__(self, fail_at: int = -1):
        self.images: list[str] = []
        self.fail_at = fail_at

    def __call__(self, batch: Sequence[Record], views: int) -> np.ndarray:
        if any(record.group == self.fail_at for record in batch):
            raise RuntimeError("killed")
        self.images += [record.sha256 for record in batch]
        return np.array([[[[[record.group, view, 0.5]]] for view in range(views)] for record in batch])


def test_features_are_read_by_image_and_view_in_any_order(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, SHAPE, "a")
    cache.add(records(*range(10)), Counting(), total=10)
    features = cache.read(["sha7", "sha2", "sha9"])
    assert (len(features), features.view_count, features.channels) == (3, 2, 3)
    read = features.views(np.array([2, 0, 2]), np.array([1, 0, 0]))
    assert read.dtype == np.float32
    assert read[:, 0, 0].tolist() == [[9, 1, 0.5], [7, 0, 0.5], [9, 0, 0.5]]
    assert features.views(np.array([1]), 1)[:, 0, 0].tolist() == [[2, 1, 0.5]]


def test_only_new_images_are_computed(tmp_path: Path) -> None:
    FeatureCache(tmp_path, SHAPE, "a").add(records(1, 2, 3), Counting(), total=3)
    compute = Counting()
    cache = FeatureCache(tmp_path, SHAPE, "a")
    cache.add(records(3, 4, 1, 5), compute, total=4)
    assert compute.images == ["sha4", "sha5"]
    assert cache.read(["sha5", "sha1"]).views(np.array([0, 1]), 0)[:, 0, 0, 0].tolist() == [5, 1]


def test_killed_computation_resumes(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        FeatureCache(tmp_path, SHAPE, "a").add(records(*range(12)), Counting(fail_at=9), total=12)
    (features,) = tmp_path.glob("*.float16")
    features.write_bytes(features.read_bytes() + b"half an image")
    compute = Counting()
    cache = FeatureCache(tmp_path, SHAPE, "a")
    cache.add(records(*range(12)), compute, total=12)
    assert compute.images == ["sha8", "sha9", "sha10", "sha11"]
    everything = cache.read([f"sha{number}" for number in range(12)]).views(np.arange(12), 1)
    assert everything[:, 0, 0, 0].tolist() == list(range(12))


def test_other_identity_has_other_features(tmp_path: Path) -> None:
    FeatureCache(tmp_path, SHAPE, {"size": 180}).add(records(1), Counting(), total=1)
    compute = Counting()
    FeatureCache(tmp_path, SHAPE, {"size": 96}).add(records(1), compute, total=1)
    assert compute.images == ["sha1"]
