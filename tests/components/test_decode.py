import io

import numpy as np
import pytest
from PIL import Image

from brain_tumor.brain_crop import brain_crop
from brain_tumor.phantoms import phantom_pngs
from components.decode import decode_batch, heatmap_of_whole_image


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def framed(height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    """Return a dark image, uint8 [height, width], with a bright gradient in a box."""
    pixels = np.zeros((height, width), np.uint8)
    gradient = np.linspace(60, 220, columns.stop - columns.start)
    pixels[rows, columns] = gradient
    return pixels


@pytest.mark.parametrize("stop_at", [(180, 200), (151, 93)])
def test_crop_in_the_graph_is_that_of_ingest(stop_at: tuple[int, int]) -> None:
    import tensorflow as tf

    images = [
        framed(*stop_at, slice(20, 140), slice(10, 80)),
        np.asarray(Image.open(io.BytesIO(phantom_pngs(1)[0])).convert("L")),
    ]
    rng = np.random.default_rng(0)
    images.append(rng.integers(0, 256, (97, 301)).astype(np.uint8))
    _, boxes = decode_batch(tf.constant([png(each) for each in images]), 64, crop=True)
    for grey, box in zip(images, boxes.numpy(), strict=True):
        rows, columns = brain_crop(grey)
        height, width = grey.shape
        assert box * [height, width, height, width] == pytest.approx([rows.start, columns.start, rows.stop, columns.stop])


@pytest.mark.parametrize("pixels", [np.zeros((64, 80), np.uint8), framed(200, 200, slice(100, 104), slice(100, 104))])
def test_image_without_a_brain_is_not_cropped(pixels: np.ndarray) -> None:
    import tensorflow as tf

    cropped, boxes = decode_batch(tf.constant([png(pixels)]), 32, crop=True)
    whole, whole_boxes = decode_batch(tf.constant([png(pixels)]), 32)
    assert boxes.numpy().tolist() == whole_boxes.numpy().tolist() == [[0, 0, 1, 1]]
    assert np.array_equal(cropped, whole)


def test_cropped_pixels_fill_the_input() -> None:
    import tensorflow as tf

    pixels, _ = decode_batch(tf.constant([png(framed(200, 200, slice(50, 150), slice(60, 160)))]), 32, crop=True)
    levels = pixels.numpy()[0, :, :, 0] * 255
    assert levels[16, 0] == pytest.approx(60, abs=5)
    assert levels[16, -1] == pytest.approx(220, abs=5)
    assert levels[0] == pytest.approx(levels[-1], abs=1)


def test_heatmap_of_the_whole_image_is_itself_for_the_whole_box() -> None:
    import tensorflow as tf

    heatmap = np.random.default_rng(0).random((1, 24, 24)).astype(np.float32)
    whole = heatmap_of_whole_image(tf.constant(heatmap), tf.constant([[0.0, 0.0, 1.0, 1.0]]))
    assert whole.numpy() == pytest.approx(heatmap, abs=1e-6)


def test_heatmap_of_a_box_is_moved_to_the_box_and_0_outside() -> None:
    import tensorflow as tf

    heatmap = np.zeros((2, 12, 12), np.float32)
    heatmap[:, 2, 9] = 1
    # The left box covers rows 0 to 1/2 and columns 1/2 to 1: half a cell of the map is one cell of the whole image.
    whole = heatmap_of_whole_image(tf.constant(heatmap), tf.constant([[0.0, 0.5, 0.5, 1.0], [0.25, 0.0, 1.0, 0.5]])).numpy()
    assert whole.shape == (2, 24, 24)
    assert np.unravel_index(whole[0].argmax(), (24, 24)) == (2, 12 + 9)
    assert whole[0][:, :12].max() == whole[0][12:].max() == 0
    row, column = np.unravel_index(whole[1].argmax(), (24, 24))
    assert (row + 0.5) / 24 == pytest.approx(0.25 + 0.75 * 2.5 / 12, abs=1 / 24)
    assert (column + 0.5) / 24 == pytest.approx(0.5 * 9.5 / 12, abs=1 / 24)


def test_edge_of_the_map_reaches_the_edge_of_the_box() -> None:
    import tensorflow as tf

    ones = np.ones((1, 12, 12), np.float32)
    whole = heatmap_of_whole_image(tf.constant(ones), tf.constant([[0.25, 0.25, 0.75, 0.75]])).numpy()[0]
    assert whole[6:18, 6:18] == pytest.approx(1)
    assert whole.sum() == pytest.approx(144)
