"""The scaled images are those of Pillow, level by level."""

import numpy as np
import pytest
from PIL import Image

from components.ingest.lanczos import scale


def by_pillow(image: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width_px, height_px), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("seed", range(4))
def test_scaled_images_equal_those_of_pillow(seed: int) -> None:
    """Of any sides, also where Pillow scales the height first; black and white overshoot the levels most."""
    rng = np.random.default_rng(seed)
    for height, width in np.exp(rng.uniform(0, 6.5, (60, 2))).astype(int):
        levels = rng.integers(0, 256, (height, width)) if rng.integers(2) else rng.choice([0, 255], (height, width))
        for size in ((32, 32), (48, 48), (20, 70)):
            assert (scale(levels.astype(np.uint8), *size) == by_pillow(levels.astype(np.uint8), *size)).all(), (
                height,
                width,
                size,
            )


def test_many_images_are_scaled_like_each() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 44), dtype=np.uint8)
    assert (scale(images, 32, 32) == [by_pillow(image, 32, 32) for image in images]).all()
