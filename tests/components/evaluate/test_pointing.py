import math

import numpy as np
import pytest

from components.evaluate.pointing import (
    IOU_THRESHOLDS,
    centred_blob,
    compare_with_baselines,
    peak_in_mask,
    score_heatmap,
    summarise,
)


def spot(row: int, column: int, shape: tuple[int, int]) -> np.ndarray:
    heatmap = np.zeros(shape, np.float32)
    heatmap[row, column] = 1
    return heatmap


def rectangle(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((90, 120), bool)
    mask[rows, columns] = True
    return mask


CORNER_LESION = rectangle(slice(10, 30), slice(80, 110))


def test_peak_on_the_lesion_hits_and_peak_at_the_centre_misses() -> None:
    assert peak_in_mask(spot(2, 9, (9, 12)), CORNER_LESION)  # the centre of cell (2, 9) is pixel (25, 95)
    assert not peak_in_mask(spot(4, 6, (9, 12)), CORNER_LESION)


def test_empty_heatmap_misses_a_lesion_in_the_first_corner() -> None:
    mask = np.zeros((20, 20), bool)
    mask[:5, :5] = True
    score = score_heatmap(np.zeros((4, 4)), mask)
    assert (score.peak_in_lesion, score.peak_within_cell, score.heat_inside) == (False, False, 0)
    assert not score.iou.any()


def test_heat_and_iou_match_hand_counts() -> None:
    heatmap = np.zeros((4, 4))
    heatmap[0, 0], heatmap[0, 1] = 1, 0.5
    mask = np.zeros((4, 4), bool)
    mask[:2, 0] = True

    score = score_heatmap(heatmap, mask)

    assert score.peak_in_lesion
    assert score.heat_inside == pytest.approx(1 / 1.5)
    np.testing.assert_allclose(score.iou[IOU_THRESHOLDS <= 0.5], 1 / 3)  # one of two pixels, and the lesion has another one
    np.testing.assert_allclose(score.iou[IOU_THRESHOLDS > 0.5], 1 / 2)


@pytest.mark.parametrize(
    ("rows", "columns", "within"),
    [
        (slice(34, 40), slice(80, 110), True),  # 10 pixels below the peak, which is at (24, 94)
        (slice(35, 40), slice(80, 110), False),
        (slice(34, 40), slice(104, 110), True),
        (slice(34, 40), slice(105, 110), False),
        (slice(0, 15), slice(0, 85), True),
        (slice(0, 14), slice(0, 85), False),
    ],
)
def test_tolerance_is_one_cell_of_the_heatmap(rows: slice, columns: slice, within: bool) -> None:
    score = score_heatmap(spot(2, 9, (9, 12)), rectangle(rows, columns))
    assert not score.peak_in_lesion
    assert score.peak_within_cell is within


def test_centred_blob_is_a_gaussian_of_the_image() -> None:
    blob = centred_blob(5, 10)
    assert blob.shape == (5, 10)
    assert blob[2, 4] == blob[2, 5] == blob.max()
    assert blob[3, 5] / blob[2, 5] == pytest.approx(math.exp(-((0.2 * 6) ** 2) / 2))


def test_iou_has_one_threshold_for_all_images() -> None:
    mask = np.ones((1, 2), bool)
    low, high = (score_heatmap(np.array([[1, level]]), mask) for level in (0.3, 0.7))

    row, threshold = summarise([low, high])

    assert row["iou"] == 1
    assert threshold == pytest.approx(0.05)  # the first of the best
    row, threshold = summarise([score_heatmap(np.array([[1, level]]), np.array([[True, False]])) for level in (0.32, 0.72)])
    assert row["iou"] == 1
    assert threshold == pytest.approx(0.75)


def test_rows_are_means_over_the_images() -> None:
    central = rectangle(slice(40, 50), slice(50, 70))
    masks = [CORNER_LESION, CORNER_LESION, central]
    model = [spot(2, 9, (9, 12)), spot(0, 0, (9, 12)), spot(0, 0, (9, 12))]
    permuted = [spot(4, 6, (9, 12))] * 3

    result = compare_with_baselines(
        [({"model": m, "randomised_weights": p}, mask) for m, p, mask in zip(model, permuted, masks, strict=True)], seed=0
    )

    assert result is not None
    assert list(result["rows"]) == ["model", "centred_blob", "random", "randomised_weights"]
    assert result["images"] == 3
    assert result["lesion_area"] == pytest.approx((600 + 600 + 200) / 3 / (90 * 120))
    assert result["rows"]["model"]["peak_in_lesion"] == pytest.approx(1 / 3)
    # Interpolated, the first spot reaches from row 15 to 35, falling to both sides: 1/8 of it is below the lesion.
    assert result["rows"]["model"]["heat_inside"] == pytest.approx((1 - 1 / 8) / 3, abs=1e-6)
    assert result["rows"]["centred_blob"]["peak_in_lesion"] == pytest.approx(1 / 3)
    assert result["rows"]["randomised_weights"]["peak_in_lesion"] == pytest.approx(1 / 3)  # pixel (44, 64)


def test_random_maps_hit_by_the_area_of_the_lesion() -> None:
    mask = np.zeros((10, 10), bool)
    mask[:5, :5] = True
    cases = [({"model": spot(0, 0, (10, 10))}, mask)] * 200

    result, same, other = (compare_with_baselines(cases, seed=seed) for seed in (1, 1, 2))

    assert result is not None
    assert result == same
    assert result != other
    assert list(result["rows"]) == ["model", "centred_blob", "random"]
    assert result["rows"]["random"]["peak_in_lesion"] == pytest.approx(0.25, abs=0.04)  # 3 standard errors of 1000 maps
    assert result["rows"]["random"]["heat_inside"] == pytest.approx(0.25, abs=0.005)
    assert result["rows"]["model"] == pytest.approx({"peak_in_lesion": 1, "peak_within_cell": 1, "heat_inside": 1, "iou": 1 / 25})


def test_without_lesions_there_is_no_result() -> None:
    assert compare_with_baselines([], seed=0) is None
