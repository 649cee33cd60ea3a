"""Decode encoded images to the network input, in training and in the SavedModel."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def decode_batch(image_bytes: "tf.Tensor", image_size_px: int) -> "tf.Tensor":
    """Decode and resize encoded images to the network input. Training and the SavedModel share this function.

    Args:
        image_bytes: Encoded images, string [N]: JPEG, PNG, GIF or BMP.
        image_size_px: Side of the square in pixels.

    Returns:
        float32 [N, image_size_px, image_size_px, 3], 0-1.
    """
    import tensorflow as tf

    def decode(encoded: "tf.Tensor") -> "tf.Tensor":
        pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        # Antialiased, because images are up to ten times larger than the network input.
        return tf.image.resize(pixels, (image_size_px, image_size_px), antialias=True)

    resized = tf.map_fn(decode, image_bytes, fn_output_signature=tf.TensorSpec([image_size_px, image_size_px, 3], tf.float32))
    return tf.clip_by_value(resized / 255.0, 0.0, 1.0)
