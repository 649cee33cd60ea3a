import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from brain_tumor.errors import InputError
from components.hyperparameters import TrainConfig
from components.train.data import augment, open_shards, read_hashes, steps_per_epoch, training_batches, validation_batches
from tests.conftest import TINY, DataSet

STILL = dataclasses.replace(TINY, rotation_deg=0.0, zoom=0.0, shear_deg=0.0, horizontal_flip=False)


def moved(config: TrainConfig, pixels: np.ndarray, step: int = 0) -> np.ndarray:
    import tensorflow as tf

    return augment(tf.constant(pixels), config, seed=tf.constant([0, step], tf.int64)).numpy()


def blob(size_px: int = 48) -> np.ndarray:
    """An image, float32 [1, size, size, 3], with a bright spot right of and above the centre."""
    y, x = np.mgrid[:size_px, :size_px]
    return np.repeat(np.exp(-((x - 34) ** 2 + (y - 18) ** 2) / 18)[None, ..., None], 3, axis=3).astype(np.float32)


def centre_of_mass(pixels: np.ndarray) -> tuple[float, float]:
    grey = pixels[0, ..., 0]
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
    return float((x * grey).sum() / grey.sum()), float((y * grey).sum() / grey.sum())


def test_no_ranges_leave_the_image_alone() -> None:
    assert moved(STILL, blob()) == pytest.approx(blob(), abs=1e-6)


def test_flip_mirrors_about_the_middle_and_only_half_of_the_time() -> None:
    flips = dataclasses.replace(STILL, horizontal_flip=True)
    outcomes = [moved(flips, blob(), step) for step in range(40)]
    mirrored = [np.allclose(outcome, blob()[:, :, ::-1], atol=1e-5) for outcome in outcomes]
    kept = [np.allclose(outcome, blob(), atol=1e-5) for outcome in outcomes]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 10 <= sum(mirrored) <= 30


def test_rotation_keeps_the_distance_from_the_centre_and_its_range() -> None:
    turns = dataclasses.replace(STILL, rotation_deg=20.0)
    angles = []
    for step in range(30):
        x, y = centre_of_mass(moved(turns, blob(), step))
        assert np.hypot(x - 23.5, y - 23.5) == pytest.approx(np.hypot(34 - 23.5, 18 - 23.5), abs=0.3)
        angles.append(np.degrees(np.arctan2(y - 23.5, x - 23.5) - np.arctan2(18 - 23.5, 34 - 23.5)))
    assert max(map(abs, angles)) <= 20.5
    assert min(angles) < -10
    assert max(angles) > 10


def test_zoom_moves_a_point_along_its_line_from_the_centre() -> None:
    zooms = dataclasses.replace(STILL, zoom=0.2)
    factors = []
    for step in range(30):
        x, y = centre_of_mass(moved(zooms, blob(), step))
        factors += [(x - 23.5) / (34 - 23.5), (y - 23.5) / (18 - 23.5)]
    assert 1 / 1.2 - 0.02 <= min(factors) < 0.92
    assert 1.1 < max(factors) <= 1 / 0.8 + 0.02


def test_shear_moves_a_point_sideways_by_its_height() -> None:
    shears = dataclasses.replace(STILL, shear_deg=20.0)
    shifts = []
    for step in range(30):
        x, y = centre_of_mass(moved(shears, blob(), step))
        assert abs(y - 23.5) == pytest.approx(5.5, abs=0.5)
        shifts.append((x - 34) / 5.5)
    assert -0.42 <= min(shifts) < -0.15
    assert 0.15 < max(shifts) <= 0.42


def test_items_of_a_batch_are_moved_each_by_its_own_draw() -> None:
    pair = np.concatenate([blob(), blob()])
    first, second = moved(TINY, pair)
    assert np.abs(first - second).max() > 0.1
    assert np.array_equal(moved(TINY, pair), moved(TINY, pair))


def test_resumed_batches_are_those_the_training_would_have_seen(phantoms: DataSet) -> None:
    shards = open_shards(phantoms.shards)
    steps = steps_per_epoch(shards, TINY)
    whole = list(itertools.islice(training_batches(shards, TINY).as_numpy_iterator(), 3 * steps))
    resumed = list(itertools.islice(training_batches(shards, TINY, first_epoch=2).as_numpy_iterator(), steps))
    for (pixels, labels), (pixels_again, labels_again) in zip(whole[2 * steps :], resumed, strict=True):
        assert np.array_equal(pixels, pixels_again)
        assert np.array_equal(labels, labels_again)
    assert not np.array_equal(whole[0][0], whole[steps][0])


def test_an_epoch_holds_every_training_image_once(phantoms: DataSet) -> None:
    shards = open_shards(phantoms.shards)
    one_epoch = list(itertools.islice(training_batches(shards, STILL).as_numpy_iterator(), steps_per_epoch(shards, STILL)))
    sums = np.concatenate([pixels.sum(axis=(1, 2, 3)) for pixels, _ in one_epoch])
    assert len(sums) == len(set(sums.tolist())) == shards.count("train")
    assert sum(labels.sum() for _, labels in one_epoch) == shards.description["counts"]["train"]["tumor"]
    assert sum(len(labels) for _, labels in validation_batches(shards, STILL).as_numpy_iterator()) == shards.count("validation")


def test_hashes_are_those_of_train_and_validation(phantoms: DataSet) -> None:
    rows = [line.split(",") for line in phantoms.splits_csv.read_text().splitlines()[1:]]
    assert read_hashes(open_shards(phantoms.shards)) == sorted(row[0] for row in rows if row[3] != "test")


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no dataset\.json: wanted the folder that preprocess writes"):
        open_shards(tmp_path)
