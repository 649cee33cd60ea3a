"""Explain predictions by Grad-CAM (Selvaraju et al. 2017).

The gradient is taken of the score before the sigmoid or softmax: a sigmoid's gradient is exactly 0 in float32 from a logit of 17
on. With one neuron the score of `no_tumor` is the negative one.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def split_network(model: "keras.Model", convolution: str, logits: str) -> tuple["keras.Model", "keras.Model"]:
    """Split a network at its last convolution: pixels to features, and features to the score before the activation."""
    import keras

    last_convolution = model.get_layer(convolution).output
    return keras.Model(model.input, last_convolution), keras.Model(last_convolution, model.get_layer(logits).output)


def grad_cam(
    features: "tf.Tensor", to_score: "keras.Model", predicted_class: Callable[["tf.Tensor"], "tf.Tensor"]
) -> tuple["tf.Tensor", "tf.Tensor"]:
    """Compute the score and the Grad-CAM map of a batch in one pass.

    Args:
        features: Output of the last convolution, float32 [N, h, w, C].
        to_score: Network from the last convolution to the score.
        predicted_class: Function from the score to the index of the explained class, int32 [N].

    Returns:
        The score, float32 [N, 1] or [N, classes], and the heatmap, float32 [N, h, w], 0 or more; all 0 if nothing contributes.
    """
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(features)
        score = to_score(features, training=False)
        index = predicted_class(score)
        if score.shape[-1] == 1:
            target = tf.where(index == 1, score[:, 0], -score[:, 0])
        else:
            target = tf.gather(score, index, batch_dims=1)
    # Items do not interact in the network, so the gradient of the sum contains each item's own gradient.
    weights = tf.reduce_mean(tape.gradient(target, features), axis=(1, 2), keepdims=True)
    return score, tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))


def grad_cam_of_one_image(model: "keras.Model", convolution: str, logits: str, pixels: "tf.Tensor", index: int) -> np.ndarray:
    """Compute the Grad-CAM map of class `index` for one image in NumPy, to compare with `grad_cam`: float32 [h, w], 0 or more."""
    import keras
    import tensorflow as tf

    outputs = keras.Model(model.input, [model.get_layer(convolution).output, model.get_layer(logits).output])
    with tf.GradientTape() as tape:
        features, score = outputs(pixels, training=False)
        target = score[0, index] if score.shape[-1] > 1 else (score[0, 0] if index == 1 else -score[0, 0])
    gradient = tape.gradient(target, features)[0].numpy()
    return np.maximum((features[0].numpy() * gradient.mean(axis=(0, 1))).sum(axis=-1), 0)
