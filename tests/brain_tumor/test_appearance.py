"""Transparency is read as a person sees it on black; an image of which nothing is seen is refused."""

import numpy as np
import pytest
from PIL import Image

from brain_tumor.errors import ImageError
from brain_tumor.images import read_image
from tests.brain_tumor.test_images import BLACK_AND_WHITE, GREY, HEIGHT, RGB, WIDTH, encode, on_black, png_16_bit_alpha

MASK = BLACK_AND_WHITE
BLACK = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
FORMATS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True, "exact": True}}


def hidden(level: int) -> np.ndarray:
    """Return RGBA whose colours below a transparent mask are of one level."""
    return np.dstack([np.where(MASK[..., None] > 0, RGB, np.uint8(level)), MASK])


@pytest.mark.parametrize("kind", FORMATS)
def test_hidden_colours_never_show(kind: str) -> None:
    images = [read_image(encode(hidden(level), kind, **FORMATS[kind])) for level in (0, 77, 255)]
    assert len({image.data for image in images}) == 1
    np.testing.assert_array_equal(images[0].pixels, on_black(RGB, MASK))


@pytest.mark.parametrize("kind", FORMATS)
def test_half_transparent_grey_is_the_same_with_and_without_colour_channels(kind: str) -> None:
    alpha = np.tile(np.linspace(20, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    coloured = read_image(encode(np.dstack([GREY, GREY, GREY, alpha]), kind, **FORMATS[kind]))
    assert (coloured.mode, coloured.image.mode) == ("RGBA", "L")
    np.testing.assert_array_equal(coloured.pixels, on_black(np.dstack([GREY] * 3), alpha))
    assert coloured.data == read_image(encode(np.dstack([GREY, alpha]), "PNG")).data


def test_hidden_colours_do_not_stretch_16_bit_levels() -> None:
    images = [read_image(png_16_bit_alpha(hidden(level)[..., :3], MASK)) for level in (0, 255)]
    assert images[0].data == images[1].data


def test_hidden_colours_of_a_palette_never_show() -> None:
    indices = Image.fromarray(np.where(MASK > 0, GREY // 2, 255).astype(np.uint8)).convert("P")
    images = []
    for level in (0, 255):
        indices.putpalette([level if entry == 255 else entry for entry in range(256) for _ in range(3)])
        images.append(read_image(encode(indices, "PNG", transparency=255)))
    assert images[0].data == images[1].data


IN_ALPHA_ALONE = {
    "grey": encode(np.dstack([BLACK[..., 0], GREY]), "PNG"),
    "colour": encode(np.dstack([BLACK, GREY]), "PNG"),
    "WebP": encode(np.dstack([BLACK, GREY]), "WEBP", quality=50),
    "TIFF": encode(np.dstack([BLACK, GREY]), "TIFF"),
    "black lines on white, which is transparent": encode(np.dstack([MASK, 255 - MASK]), "PNG"),
    "black lines, transparent colour": encode(MASK, "PNG", transparency=255),
    "transparent as a whole": encode(np.dstack([RGB, BLACK[..., 0]]), "PNG"),
    "16 bits": png_16_bit_alpha(BLACK, GREY),
    "palette": encode(Image.fromarray(BLACK[..., 0]).convert("P"), "GIF", transparency=0),
}


@pytest.mark.parametrize("name", IN_ALPHA_ALONE)
def test_image_that_lives_in_its_alpha_alone_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match=r"nothing is seen of the image on black.* alpha channel alone") as rejected:
        read_image(IN_ALPHA_ALONE[name])
    assert rejected.value.code == "invisible"


def test_image_in_the_alpha_of_a_bright_colour_is_seen() -> None:
    np.testing.assert_array_equal(read_image(encode(np.dstack([BLACK + 255, GREY]), "PNG")).pixels[..., 0], GREY)


def test_black_image_without_transparency_is_read() -> None:
    for opaque in (encode(BLACK, "PNG"), encode(np.dstack([BLACK, BLACK[..., 0] + 255]), "PNG")):
        assert not read_image(opaque).pixels.any()


def test_unused_alpha_of_a_bmp_is_left_out() -> None:
    np.testing.assert_array_equal(read_image(encode(np.dstack([RGB, BLACK[..., 0]]), "BMP")).pixels, RGB)
