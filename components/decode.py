"""Decode encoded images to the network input, in training and in the SavedModel, and map a heatmap back to the whole image."""

from typing import TYPE_CHECKING

from brain_tumor.brain_crop import MIN_BRIGHT_FRACTION, MIN_LEVEL, MIN_SIDE_FRACTION, PERCENTILE, STRIDE_PX

if TYPE_CHECKING:
    import tensorflow as tf

# Side of a heatmap of the whole image.
WHOLE_IMAGE_CELLS = 24


def decode_batch(image_bytes: "tf.Tensor", image_size_px: int, *, crop: bool = False) -> tuple["tf.Tensor", "tf.Tensor"]:
    """Decode and resize encoded images to the network input. Training and the SavedModel share this function.

    Args:
        image_bytes: Encoded images, string [N]: JPEG, PNG, GIF or BMP.
        image_size_px: Side of the square in pixels.
        crop: Whether to resize the brain crop, as `brain_tumor.brain_crop` finds it, instead of the whole image.

    Returns:
        float32 [N, image_size_px, image_size_px, 3], 0-1, and the box of it in the image: top, left, bottom and right as
        fractions of the image's sides, float32 [N, 4].
    """
    import tensorflow as tf

    def decode(encoded: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        box = tf.constant([0.0, 0.0, 1.0, 1.0])
        if crop:
            pixels, box = _crop_to_brain(pixels)
        # Antialiased, because images are up to ten times larger than the network input.
        return tf.image.resize(pixels, (image_size_px, image_size_px), antialias=True), box

    signature = (tf.TensorSpec([image_size_px, image_size_px, 3], tf.float32), tf.TensorSpec([4], tf.float32))
    resized, boxes = tf.map_fn(decode, image_bytes, fn_output_signature=signature)
    return tf.clip_by_value(resized / 255.0, 0.0, 1.0), boxes


def heatmap_of_whole_image(heatmap: "tf.Tensor", boxes: "tf.Tensor") -> "tf.Tensor":
    """Resample heatmaps of boxes to heatmaps of the whole image.

    Args:
        heatmap: float32 [N, h, w].
        boxes: Boxes as `decode_batch` returns them, float32 [N, 4].

    Returns:
        float32 [N, 24, 24], bilinear, 0 outside the box.
    """
    import tensorflow as tf

    cells = WHOLE_IMAGE_CELLS
    centres = (tf.range(cells, dtype=tf.float32) + 0.5) / cells
    height, width = tf.cast(tf.shape(heatmap)[1], tf.float32), tf.cast(tf.shape(heatmap)[2], tf.float32)
    (scale_y, shift_y), (scale_x, shift_x) = (
        _cell_transform(boxes[:, first], boxes[:, first + 2], side) for first, side in ((0, height), (1, width))
    )
    zeros = tf.zeros_like(scale_x)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=heatmap[..., None],
        transforms=tf.stack([scale_x, zeros, shift_x, zeros, scale_y, shift_y, zeros, zeros], axis=1),
        output_shape=tf.constant([cells, cells]),
        interpolation="BILINEAR",
        fill_mode="NEAREST",
        fill_value=0.0,
    )[..., 0]
    inside_y = (centres >= boxes[:, 0:1]) & (centres <= boxes[:, 2:3])
    inside_x = (centres >= boxes[:, 1:2]) & (centres <= boxes[:, 3:4])
    return tf.where(inside_y[:, :, None] & inside_x[:, None, :], moved, 0.0)


def _cell_transform(start: "tf.Tensor", stop: "tf.Tensor", side: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
    """Return scale and shift, float32 [N], from cells of the whole image to cells of a box, `side` along it."""
    scale = side / WHOLE_IMAGE_CELLS / (stop - start)
    return scale, 0.5 * scale - 0.5 - start * side / (stop - start)


def _crop_to_brain(pixels: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
    """Return the brain crop of uint8 [h, w, 3], and its box; the same as `brain_tumor.brain_crop.brain_crop`."""
    import tensorflow as tf

    grey = tf.reduce_mean(tf.cast(pixels, tf.float32), axis=-1)
    bright = tf.cast(grey > MIN_LEVEL * _percentile(tf.reshape(grey[::STRIDE_PX, ::STRIDE_PX], [-1])), tf.float32)
    shape = tf.shape(grey)
    top, bottom = _extent(tf.reduce_mean(bright, axis=1))
    left, right = _extent(tf.reduce_mean(bright, axis=0))
    sides = tf.cast(tf.stack([bottom - top, right - left]), tf.float32)
    too_small = tf.reduce_any(sides < MIN_SIDE_FRACTION * tf.cast(shape, tf.float32))
    box = tf.where(too_small, tf.stack([0, 0, shape[0], shape[1]]), tf.stack([top, left, bottom, right]))
    return pixels[box[0] : box[2], box[1] : box[3]], tf.cast(box, tf.float32) / tf.cast(tf.tile(shape, [2]), tf.float32)


def _percentile(values: "tf.Tensor") -> "tf.Tensor":
    """Return the percentile of float32 [n] with linear interpolation, as NumPy does, without sorting all of them."""
    import tensorflow as tf

    last = tf.size(values) - 1
    position = PERCENTILE / 100 * tf.cast(last, tf.float32)
    below = tf.cast(tf.floor(position), tf.int32)
    highest = tf.math.top_k(values, last - below + 1).values  # the highest first
    lower, upper = highest[last - below], highest[tf.maximum(last - below - 1, 0)]
    return lower + (upper - lower) * (position - tf.floor(position))


def _extent(bright_fraction: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
    """Return the first index above the minimum and the last one plus 1, int32; both 0 if there is none."""
    import tensorflow as tf

    inside = tf.cast(tf.where(bright_fraction > MIN_BRIGHT_FRACTION)[:, 0], tf.int32)
    padded = tf.concat([inside, tf.cond(tf.size(inside) > 0, lambda: inside[:0], lambda: tf.constant([0, -1]))], axis=0)
    return padded[0], padded[-1] + 1
