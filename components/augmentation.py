"""Random changes of images, so that a training sees more of them."""

import math
from typing import TYPE_CHECKING, Any

from components.hyperparameters import TrainConfig

if TYPE_CHECKING:
    import tensorflow as tf

RANGES = {"rotation_deg", "zoom", "shear_deg", "shift", "gamma", "horizontal_flip"}


def augmentation_ranges(config: TrainConfig) -> dict[str, Any]:
    """Return the hyper-parameters that are arguments of `augment`."""
    return config.model_dump(include=RANGES)


def augment(
    pixels: "tf.Tensor",
    *,
    rotation_deg: float,
    zoom: float,
    shear_deg: float = 0.0,
    shift: float = 0.0,
    gamma: float = 0.0,
    horizontal_flip: bool,
    seed: "tf.Tensor",
) -> "tf.Tensor":
    """Rotate, mirror, zoom, shear and shift each image by its own random values, in one resampling, and change its gamma.

    Args:
        pixels: Images, float32 [n, size, size, 3], 0-1.
        rotation_deg: Maximum rotation in degrees, either way.
        zoom: Maximum enlargement or reduction, as a fraction of the size.
        shear_deg: Maximum shear in degrees, either way.
        shift: Maximum shift, as a fraction of the size.
        gamma: Maximum logarithm of the exponent of the grey levels, either way.
        horizontal_flip: Whether to mirror half of the images.
        seed: Random seed, int64 [2]; the same seed gives the same images.

    Returns:
        float32 [n, size, size, 3], 0-1; areas from outside the image are black.
    """
    import tensorflow as tf

    count, side_px = tf.shape(pixels)[0], pixels.shape[1]
    uniform = tf.random.stateless_uniform([8, count], seed, -1.0, 1.0)
    angle = uniform[0] * math.radians(rotation_deg)
    shear = uniform[1] * math.radians(shear_deg)
    zoom_x, zoom_y = 1 + uniform[2] * zoom, 1 + uniform[3] * zoom
    mirror = tf.sign(uniform[4] + 1e-9) if horizontal_flip else tf.ones([count])
    # Output to input coordinates about the centre: rotation after shear after zoom after mirror.
    a, b = mirror * zoom_x * tf.cos(angle), -zoom_y * tf.sin(angle + shear)
    c, d = mirror * zoom_x * tf.sin(angle), zoom_y * tf.cos(angle + shear)
    centre, zeros = (side_px - 1) / 2, tf.zeros([count])
    e = centre - (a + b) * centre + uniform[5] * shift * side_px
    f = centre - (c + d) * centre + uniform[6] * shift * side_px
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels,
        transforms=tf.stack([a, b, e, c, d, f, zeros, zeros], axis=1),
        output_shape=tf.shape(pixels)[1:3],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )
    moved = tf.ensure_shape(moved, pixels.shape)
    return tf.pow(moved, tf.exp(uniform[7] * gamma)[:, None, None, None]) if gamma else moved
