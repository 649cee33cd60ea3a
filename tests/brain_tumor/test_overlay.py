import io

import numpy as np
import pytest
from PIL import Image

from brain_tumor.overlay import (
    COLOUR_MAPS,
    OUTLINE_RGB,
    outline,
    overlay_png,
    render_overlay,
    scale_heatmap,
    scale_image,
)


def grey(height: int, width: int, level: int = 90) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def spot(row: int, column: int, shape: tuple[int, int] = (9, 12)) -> np.ndarray:
    heatmap = np.zeros(shape, np.float32)
    heatmap[row, column] = 1
    return heatmap


def changes(overlay: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return the change of each pixel, int [h, w]; the outline counts as 0."""
    change = np.abs(overlay.astype(int) - image.astype(int)).sum(axis=2)
    return np.where((overlay == OUTLINE_RGB).all(axis=2), 0, change)


@pytest.mark.parametrize("level", [0, 90, 255])
def test_peak_changes_the_image_most(level: int) -> None:
    image = grey(90, 120, level)

    change = changes(render_overlay(image, spot(2, 9)), image)

    row, column = np.unravel_index(change.argmax(), change.shape)
    assert (int(row) // 10, int(column) // 10) == (2, 9)
    assert change[60:, :60].max() == 0


def test_higher_values_are_brighter() -> None:
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (8, 1))
    brightness = render_overlay(grey(80, 640, 60), ramp)[40].mean(axis=1)
    assert brightness[330] < brightness[450] < brightness[600]


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (37, 37)])
def test_empty_heatmap_leaves_the_image_unchanged(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    assert np.array_equal(render_overlay(image, np.zeros(shape, np.float32)), image)


def test_empty_heatmap_only_scales_a_large_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    overlay = render_overlay(image, np.zeros((5, 5)), max_side_px=150)
    assert np.array_equal(overlay, np.asarray(scale_image(Image.fromarray(image), 150)))
    assert overlay.mean() == pytest.approx(image.mean(), abs=1)


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [
        ((100, 80), 1024, (100, 80)),
        ((1024, 1024), 1024, (1024, 1024)),
        ((2048, 1024), 1024, (1024, 512)),
        ((300, 1200), 400, (100, 400)),
        ((4000, 1), 1024, (1024, 1)),
        ((1, 1), 1024, (1, 1)),
    ],
)
def test_overlay_has_the_images_size_up_to_the_limit(size: tuple[int, int], limit: int, expected: tuple[int, int]) -> None:
    overlay = render_overlay(grey(*size), spot(2, 2, (5, 5)), max_side_px=limit)
    assert overlay.shape == (*expected, 3)
    assert overlay.dtype == np.uint8


def test_outline_surrounds_values_above_half_of_the_peak() -> None:
    heatmap = np.zeros((10, 10), np.float32)
    heatmap[3:7, 3:7] = 0.4  # half of the peak, not half of 1

    line = (render_overlay(grey(200, 200), heatmap) == OUTLINE_RGB).all(axis=2)

    rows, columns = np.nonzero(line)
    assert 55 <= rows.min() <= 65 and 135 <= rows.max() <= 145  # noqa: PT018
    assert 55 <= columns.min() <= 65 and 135 <= columns.max() <= 145  # noqa: PT018
    assert not line[80:120, 80:120].any()


def test_outline_is_closed_and_wider_in_a_large_image() -> None:
    inside = np.zeros((20, 30), bool)
    inside[5:10, 5:12] = True
    assert outline(inside).sum() == 5 * 7 - 3 * 5

    large = np.zeros((960, 960), bool)
    large[300:600, 300:600] = True
    assert outline(large).sum() == 300**2 - 294**2


def test_outline_is_open_at_the_image_border() -> None:
    inside = np.zeros((10, 10), bool)
    inside[:, :5] = True
    assert np.array_equal(np.nonzero(outline(inside).any(axis=0))[0], [4])


def test_scaling_keeps_peak_position_and_range() -> None:
    heat = scale_heatmap(spot(2, 9), 120, 90)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert (row, column) == pytest.approx((24.5, 94.5), abs=1)
    assert heat.shape == (90, 120)
    assert heat.min() == 0
    assert heat.max() <= 1


def test_scaling_keeps_the_peak_of_a_wide_region() -> None:
    heatmap = np.zeros((9, 12), np.float32)
    heatmap[1:7, 1:9] = 0.97
    heatmap[4, 5] = 1
    heat = scale_heatmap(heatmap, 120, 90)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert (int(row) // 10, int(column) // 10) == (4, 5)
    assert heat.max() == pytest.approx(1, abs=0.01)
    assert heat.max() <= 1


def test_uniform_heatmap_stays_uniform() -> None:
    assert scale_heatmap(np.full((7, 7), 0.3), 50, 40) == pytest.approx(np.full((40, 50), 0.3), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "darkest", "brightest"),
    [("inferno", "000004", "fcffa4"), ("viridis", "440154", "fde725"), ("cividis", "00224e", "fee838")],
)
def test_colour_maps_increase_in_brightness(name: str, darkest: str, brightest: str) -> None:
    colours = COLOUR_MAPS[name]
    assert [bytes(colours[0].tolist()).hex(), bytes(colours[255].tolist()).hex()] == [darkest, brightest]
    luminance = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -0.5).all()


def test_colour_map_changes_the_overlay() -> None:
    image, heatmap = grey(50, 50), np.linspace(0, 1, 25, dtype=np.float32).reshape(5, 5)
    overlays = {name: render_overlay(image, heatmap, colour_map=name).tobytes() for name in COLOUR_MAPS}
    assert len(set(overlays.values())) == len(COLOUR_MAPS)


def test_opacity_is_the_weight_of_the_colour_at_the_peak() -> None:
    image, heatmap = grey(40, 40, 100), np.ones((4, 4), np.float32)
    hottest = COLOUR_MAPS["inferno"][255].astype(int)
    for opacity in (0.25, 0.6, 1.0):
        middle = render_overlay(image, heatmap, opacity=opacity)[20, 20].astype(int)
        assert middle == pytest.approx(100 + opacity * (hottest - 100), abs=1)
    assert np.array_equal(render_overlay(image, heatmap, opacity=0), image)


def test_overlay_is_encoded_as_png() -> None:
    image, heatmap = grey(90, 120), spot(2, 9)
    overlay = Image.open(io.BytesIO(overlay_png(Image.fromarray(image), heatmap)))
    assert np.array_equal(np.asarray(overlay), render_overlay(image, heatmap))
