import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest

from brain_tumor.errors import InputError
from components.architectures.cnn import CnnConfig
from components.augmentation import augment, augmentation_ranges
from components.shards import TRAINING_SPLITS, open_shards, read_records, steps_per_epoch, training_batches, unaugmented_batches
from tests.conftest import TINY, DataSet

PLAIN = TINY.model_copy(update={"rotation_deg": 0.0, "zoom": 0.0, "shear_deg": 0.0, "horizontal_flip": False})


def augmented(config: CnnConfig, pixels: np.ndarray, step: int = 0) -> np.ndarray:
    import tensorflow as tf

    return augment(tf.constant(pixels), **augmentation_ranges(config), seed=tf.constant([0, step], tf.int64)).numpy()


def image_with_spot(size_px: int = 48) -> np.ndarray:
    """Return an image, float32 [1, size, size, 3], with a bright spot right of and above the centre."""
    y, x = np.mgrid[:size_px, :size_px]
    return np.repeat(np.exp(-((x - 34) ** 2 + (y - 18) ** 2) / 18)[None, ..., None], 3, axis=3).astype(np.float32)


def centre_of_mass(pixels: np.ndarray) -> tuple[float, float]:
    grey = pixels[0, ..., 0]
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
    return float((x * grey).sum() / grey.sum()), float((y * grey).sum() / grey.sum())


def test_zero_ranges_leave_the_image_unchanged() -> None:
    assert augmented(PLAIN, image_with_spot()) == pytest.approx(image_with_spot(), abs=1e-6)


def test_horizontal_flip_mirrors_half_of_the_images() -> None:
    flips = PLAIN.model_copy(update={"horizontal_flip": True})
    outcomes = [augmented(flips, image_with_spot(), step) for step in range(40)]
    mirrored = [np.allclose(outcome, image_with_spot()[:, :, ::-1], atol=1e-5) for outcome in outcomes]
    kept = [np.allclose(outcome, image_with_spot(), atol=1e-5) for outcome in outcomes]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 10 <= sum(mirrored) <= 30


def test_rotation_keeps_the_distance_from_the_centre_and_stays_in_range() -> None:
    turns = PLAIN.model_copy(update={"rotation_deg": 20.0})
    angles = []
    for step in range(30):
        x, y = centre_of_mass(augmented(turns, image_with_spot(), step))
        assert np.hypot(x - 23.5, y - 23.5) == pytest.approx(np.hypot(34 - 23.5, 18 - 23.5), abs=0.3)
        angles.append(np.degrees(np.arctan2(y - 23.5, x - 23.5) - np.arctan2(18 - 23.5, 34 - 23.5)))
    assert max(map(abs, angles)) <= 20.5
    assert min(angles) < -10
    assert max(angles) > 10


def test_zoom_scales_the_distance_from_the_centre_within_its_range() -> None:
    zooms = PLAIN.model_copy(update={"zoom": 0.2})
    factors = []
    for step in range(30):
        x, y = centre_of_mass(augmented(zooms, image_with_spot(), step))
        factors += [(x - 23.5) / (34 - 23.5), (y - 23.5) / (18 - 23.5)]
    assert 1 / 1.2 - 0.02 <= min(factors) < 0.92
    assert 1.1 < max(factors) <= 1 / 0.8 + 0.02


def test_shear_shifts_a_point_sideways_in_proportion_to_its_height() -> None:
    shears = PLAIN.model_copy(update={"shear_deg": 20.0})
    shifts = []
    for step in range(30):
        x, y = centre_of_mass(augmented(shears, image_with_spot(), step))
        assert abs(y - 23.5) == pytest.approx(5.5, abs=0.5)
        shifts.append((x - 34) / 5.5)
    assert -0.42 <= min(shifts) < -0.15
    assert 0.15 < max(shifts) <= 0.42


def test_each_image_of_a_batch_has_its_own_random_values() -> None:
    pair = np.concatenate([image_with_spot(), image_with_spot()])
    first, second = augmented(TINY, pair)
    assert np.abs(first - second).max() > 0.1
    assert np.array_equal(augmented(TINY, pair), augmented(TINY, pair))


def test_resumed_batches_equal_those_of_an_uninterrupted_training(phantoms: DataSet) -> None:
    shards = open_shards(phantoms.shards)
    steps = steps_per_epoch(shards, TINY)
    whole = list(itertools.islice(training_batches(shards, TINY).as_numpy_iterator(), 3 * steps))
    resumed = list(itertools.islice(training_batches(shards, TINY, first_epoch=2).as_numpy_iterator(), steps))
    for (pixels, labels), (pixels_again, labels_again) in zip(whole[2 * steps :], resumed, strict=True):
        assert np.array_equal(pixels, pixels_again)
        assert np.array_equal(labels, labels_again)
    assert not np.array_equal(whole[0][0], whole[steps][0])


def test_epoch_contains_every_training_image_once(phantoms: DataSet) -> None:
    shards = open_shards(phantoms.shards)
    one_epoch = list(itertools.islice(training_batches(shards, PLAIN).as_numpy_iterator(), steps_per_epoch(shards, PLAIN)))
    sums = np.concatenate([pixels.sum(axis=(1, 2, 3)) for pixels, _ in one_epoch])
    assert len(sums) == len(set(sums.tolist())) == shards.count("train")
    assert sum(labels.sum() for _, labels in one_epoch) == shards.description["counts"]["train"]["tumor"]
    assert sum(len(labels) for _, labels in unaugmented_batches(shards, PLAIN, "validation").as_numpy_iterator()) == shards.count(
        "validation"
    )


def test_records_have_the_images_labels_and_groups_of_their_splits(phantoms: DataSet) -> None:
    rows = [line.split(",") for line in phantoms.splits_csv.read_text().splitlines()[1:]]
    shards = open_shards(phantoms.shards)
    records = list(read_records(shards, *TRAINING_SPLITS))
    found = sorted((record.sha256, str(record.group), shards.classes[record.label]) for record in records)
    assert found == sorted((row[0], row[1], row[2]) for row in rows if row[3] != "test")
    assert all(hashlib.sha256(record.image_bytes).hexdigest() == record.sha256 for record in records)


def test_open_shards_rejects_another_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r": got no dataset\.json, expected the preprocess output"):
        open_shards(tmp_path)
