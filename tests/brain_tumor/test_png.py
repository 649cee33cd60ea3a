import io

import numpy as np
import pytest
from PIL import Image

from brain_tumor.png import encode_pixels


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (64, 48), (333, 1024)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_png_contains_exactly_the_pixels(size: tuple[int, int], mode: str) -> None:
    shape = size if mode == "L" else (*size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    image = Image.open(io.BytesIO(encode_pixels(pixels)))
    assert (image.format, image.mode) == ("PNG", mode)
    assert np.array_equal(np.asarray(image), pixels)
