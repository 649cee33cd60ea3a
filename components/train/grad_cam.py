"""Explain predictions by Grad-CAM."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from components.train.network import LAST_CONVOLUTION, LOGITS

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def split_network(model: "keras.Model") -> tuple["keras.Model", "keras.Model"]:
    """Split a network at its last convolution: pixels to features, and features to the score before the activation."""
    import keras

    last_convolution = model.get_layer(LAST_CONVOLUTION).output
    return keras.Model(model.input, last_convolution), keras.Model(last_convolution, model.get_layer(LOGITS).output)


def grad_cam(
    to_features: "keras.Model",
    to_score: "keras.Model",
    pixels: "tf.Tensor",
    target_score: Callable[["tf.Tensor"], "tf.Tensor"],
) -> tuple["tf.Tensor", "tf.Tensor"]:
    """Compute the score and the Grad-CAM map (Selvaraju et al. 2017) of a batch in one pass.

    The gradient is taken of the score before the sigmoid or softmax: a sigmoid's gradient is exactly 0 in float32 from a
    logit of 17 on.

    Args:
        to_features: Network from pixels to the last convolution.
        to_score: Network from the last convolution to the score.
        pixels: Images, float32 [N, size, size, 3], 0-1.
        target_score: Function from the score, float32 [N, 1] or [N, classes], to the explained score, float32 [N].

    Returns:
        The score, float32 [N, 1] or [N, classes], and the heatmap, float32 [N, h, w], 0-1. Each map has its peak at 1, or is
        all 0 if nothing contributes.
    """
    import tensorflow as tf

    features = to_features(pixels, training=False)
    with tf.GradientTape() as tape:
        tape.watch(features)
        score = to_score(features, training=False)
        target = target_score(score)
    # Items do not interact in the network, so the gradient of the sum contains each item's own gradient.
    weights = tf.reduce_mean(tape.gradient(target, features), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))
    return score, tf.math.divide_no_nan(heat, tf.reduce_max(heat, axis=(1, 2), keepdims=True))
