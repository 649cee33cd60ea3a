"""Lay a Grad-CAM heatmap over its picture. Needs Pillow and numpy only."""

import numpy as np
from PIL import Image

MAX_SIDE_PX = 1024
OPACITY = 0.6
OUTLINE_LEVEL = 0.5
OUTLINE_RGB = (255, 255, 255)
OUTLINE_SHARE = 1 / 320  # of the longest side: a line of one pixel would vanish where a large picture is shown small

# "inferno", a perceptually even colour map (Smith and van der Walt, CC0), at 17 points; between them it is linear.
INFERNO = "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 fcffa4"


def _colour_table(points: str) -> np.ndarray:
    """Spread hexadecimal RGB points evenly over a table, uint8 [256, 3]."""
    anchors = np.array([[int(point[i : i + 2], 16) for i in (0, 2, 4)] for point in points.split()], dtype=np.float64)
    positions = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(positions, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


COLOURS = _colour_table(INFERNO)


def render_overlay(pixels: np.ndarray, heatmap: np.ndarray, *, max_side_px: int = MAX_SIDE_PX) -> np.ndarray:
    """Blend a heatmap over a picture: hotter is brighter and less transparent; a line surrounds what is above half of the peak.

    Args:
        pixels: the picture, uint8 [height, width, 3], 0-255.
        heatmap: Grad-CAM at low resolution, float [h, w], 0-1; all 0 leaves the picture as it is.
        max_side_px: a larger picture is scaled down to this longest side.

    Returns:
        uint8 [height, width, 3], 0-255.
    """
    picture = scale_picture(pixels, max_side_px)
    heat = scale_heatmap(heatmap, picture.shape[1], picture.shape[0])
    alpha = (heat * OPACITY)[..., None]
    blended = picture * (1 - alpha) + COLOURS[(heat * 255).round().astype(np.uint8)] * alpha
    overlay = blended.round().astype(np.uint8)
    if heat.any():
        overlay[outline(heat >= OUTLINE_LEVEL * heat.max())] = OUTLINE_RGB
    return overlay


def scale_picture(pixels: np.ndarray, max_side_px: int) -> np.ndarray:
    """Scale uint8 [height, width, 3] down to `max_side_px` on its longest side; a smaller picture stays as it is."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((max_side_px, max_side_px), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def scale_heatmap(heatmap: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """Scale a heatmap, float [h, w] in 0-1, smoothly to float32 [height_px, width_px] in 0-1."""
    image = Image.fromarray(np.asarray(heatmap, dtype=np.float32))
    # Bicubic would overshoot at the rim of a hot region, and so move the peak.
    return np.asarray(image.resize((width_px, height_px), Image.Resampling.BILINEAR))


def outline(inside: np.ndarray) -> np.ndarray:
    """Return the rim of `inside`, bool [h, w]: its pixels next to one outside of it, as wide as `OUTLINE_SHARE` says."""
    core = inside
    for _ in range(max(1, round(max(inside.shape) * OUTLINE_SHARE))):
        padded = np.pad(core, 1, mode="edge")
        core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core
