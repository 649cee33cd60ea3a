import numpy as np
import pytest

from components.evaluate.pointing import peak_in_mask, pointing_game


def spot(row: int, column: int, shape: tuple[int, int]) -> np.ndarray:
    heatmap = np.zeros(shape, np.float32)
    heatmap[row, column] = 1
    return heatmap


def corner_lesion() -> np.ndarray:
    mask = np.zeros((90, 120), bool)
    mask[10:30, 80:110] = True
    return mask


def test_peak_on_the_lesion_hits_and_peak_at_the_centre_misses() -> None:
    assert peak_in_mask(spot(2, 9, (9, 12)), corner_lesion())  # the centre of cell (2, 9) is pixel (25, 95)
    assert not peak_in_mask(spot(4, 6, (9, 12)), corner_lesion())
    assert not peak_in_mask(np.zeros((9, 12), np.float32), corner_lesion())


def test_empty_heatmap_misses_a_lesion_in_the_first_corner() -> None:
    mask = np.zeros((20, 20), bool)
    mask[:5, :5] = True
    assert not peak_in_mask(np.zeros((4, 4)), mask)


def test_pointing_game_counts_hits_of_heatmaps_and_of_a_central_peak() -> None:
    central = np.zeros((90, 120), bool)
    central[40:50, 50:70] = True
    cases = [(spot(2, 9, (9, 12)), corner_lesion()), (spot(0, 0, (9, 12)), corner_lesion()), (spot(0, 0, (9, 12)), central)]

    score = pointing_game(cases)

    area = (600 + 600 + 200) / 3 / (90 * 120)
    assert score == pytest.approx({"images": 3, "peak_in_lesion": 1 / 3, "centred_blob": 1 / 3, "lesion_area": area})


def test_pointing_game_without_lesions_has_no_result() -> None:
    assert pointing_game([]) is None
