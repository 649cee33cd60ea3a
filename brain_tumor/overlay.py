"""Draw the overlay: a heatmap over its image."""

from functools import cache
from typing import Literal

import numpy as np
from PIL import Image

from brain_tumor.png import encode_pixels

MAX_OVERLAY_SIDE_PX = 1024
OPACITY = 0.6
OUTLINE_LEVEL = 0.5
OUTLINE_RGB = (255, 255, 255)
OUTLINE_FRACTION = 1 / 320  # of the longest side; a line of one pixel would vanish in a large image that is displayed small

# Perceptually uniform colour maps at 17 points, with linear interpolation. "inferno" and "viridis": Smith and van der Walt, CC0.
# "cividis", which looks alike with colour-vision deficiency: Nunez, Anderton and Renslow 2018, CC0.
INFERNO = "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 fcffa4"
VIRIDIS = "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725"
CIVIDIS = "00224e 002e6a 1a386f 32436d 434e6c 535a6d 61656f 6f7073 7d7c78 8c8878 9b9476 aba072 bcae6c cdbb63 dec958 f0d846 fee838"


def _colour_table(points: str) -> np.ndarray:
    """Interpolate equidistant hexadecimal RGB points to a table, uint8 [256, 3]."""
    anchors = np.array([[int(point[i : i + 2], 16) for i in (0, 2, 4)] for point in points.split()], dtype=np.float64)
    positions = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(positions, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


ColourMap = Literal["inferno", "viridis", "cividis"]
COLOUR_MAPS: dict[str, np.ndarray] = {
    "inferno": _colour_table(INFERNO),
    "viridis": _colour_table(VIRIDIS),
    "cividis": _colour_table(CIVIDIS),
}


def render_overlay(
    pixels: np.ndarray,
    heatmap: np.ndarray,
    *,
    colour_map: str = "inferno",
    max_side_px: int = MAX_OVERLAY_SIDE_PX,
    opacity: float = OPACITY,
) -> np.ndarray:
    """Blend a heatmap over an image: high values are bright and opaque, and a line surrounds values above half of the peak.

    Args:
        pixels: Image, uint8 [height, width, 3], 0-255.
        heatmap: Explanation at low resolution, float [h, w], 0-1; if all values are 0, the image stays unchanged.
        colour_map: Name in `COLOUR_MAPS`.
        max_side_px: Longest side of the overlay in pixels; a larger image is scaled down.
        opacity: Opacity at a heatmap value of 1, 0-1; at 0 the image stays unchanged, without the line.

    Returns:
        uint8 [height, width, 3], 0-255.
    """
    return _blend(scale_image(Image.fromarray(pixels), max_side_px), heatmap, colour_map, opacity)


def overlay_png(image: Image.Image, heatmap: np.ndarray, *, colour_map: str = "inferno") -> bytes:
    """Render the overlay of an image of mode `RGB` at its size as a PNG; the other arguments are those of `render_overlay`."""
    return encode_pixels(_blend(image, heatmap, colour_map, OPACITY))


def scale_image(image: Image.Image, max_side_px: int) -> Image.Image:
    """Scale an image of mode `L` or `RGB` down to `max_side_px` on its longest side, mode `RGB`; a smaller one keeps its size."""
    if max(image.size) > max_side_px:
        scale = max_side_px / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return image if image.mode == "RGB" else image.convert("RGB")


def scale_heatmap(heatmap: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """Interpolate a heatmap, float [h, w], 0-1, to float32 [height_px, width_px], 0-1."""
    image = Image.fromarray(np.asarray(heatmap, dtype=np.float32))
    # Bicubic interpolation overshoots at the edge of a high region, which would move the peak.
    return np.asarray(image.resize((width_px, height_px), Image.Resampling.BILINEAR))


def outline(region: np.ndarray) -> np.ndarray:
    """Return the inner edge of a region, bool [h, w], with the width `OUTLINE_FRACTION`."""
    core = region
    for _ in range(max(1, round(max(region.shape) * OUTLINE_FRACTION))):
        core, wider = core.copy(), core
        core[1:] &= wider[:-1]
        core[:-1] &= wider[1:]
        core[:, 1:] &= wider[:, :-1]
        core[:, :-1] &= wider[:, 1:]
    return region & ~core


def _blend(image: Image.Image, heatmap: np.ndarray, colour_map: str, opacity: float) -> np.ndarray:
    levels = Image.fromarray((np.asarray(heatmap) * 255).round().astype(np.uint8))
    heat = levels.resize(image.size, Image.Resampling.BILINEAR)
    palette, opacities = _tables(colour_map, opacity)
    colours = heat.copy()
    colours.putpalette(palette)
    overlay = np.array(Image.composite(colours.convert("RGB"), image, heat.point(opacities)))
    scaled = np.asarray(heat)
    if scaled.any() and opacity > 0:
        line = outline(scaled >= OUTLINE_LEVEL * scaled.max())
        overlay.reshape(-1, 3)[np.flatnonzero(line)] = OUTLINE_RGB
    return overlay


@cache
def _tables(colour_map: str, opacity: float) -> tuple[bytes, list[int]]:
    """Return a colour map as Pillow's palette, and the opacity of each level, 0-255."""
    return COLOUR_MAPS[colour_map].tobytes(), [round(level * opacity) for level in range(256)]
