"""The module that is exported as the SavedModel, with both signatures."""

from typing import TYPE_CHECKING

from components.hyperparameters import TrainConfig
from components.train.decode import decode_batch
from components.train.grad_cam import grad_cam, split_network

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def served_model(model: "keras.Model", classes: list[str], config: TrainConfig) -> "tf.Module":
    """Wrap a network in a module that takes encoded images, returns the label and explains the prediction.

    Returns:
        A module with `serving_default` and `explain`: from `image_bytes`, string [N], to the outputs of the model contract.
    """
    import tensorflow as tf

    to_features, to_score = split_network(model)
    encoded = tf.TensorSpec([None], tf.string, name="image_bytes")

    class ServedModel(tf.Module):
        def __init__(self) -> None:
            super().__init__(name="brain_tumor")
            self.to_features = to_features
            self.to_score = to_score

        @tf.function(input_signature=[encoded], autograph=False)
        def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            pixels = decode_batch(image_bytes, config.image_size_px)
            score = self.to_score(self.to_features(pixels, training=False), training=False)
            return _outputs(score, classes, config.threshold)

        @tf.function(input_signature=[encoded], autograph=False)
        def explain(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            pixels = decode_batch(image_bytes, config.image_size_px)
            score, heatmap = grad_cam(self.to_features, self.to_score, pixels, self.predicted_class_score)
            return _outputs(score, classes, config.threshold) | {"heatmap": heatmap}

        def predicted_class_score(self, score: tf.Tensor) -> tf.Tensor:
            """Return the score, float32 [N], of the class in `label`; for `no_tumor` with one neuron the negative score."""
            if len(classes) > 2:
                return tf.reduce_max(score, axis=-1)
            return tf.where(tf.sigmoid(score) >= config.threshold, score, -score)[:, 0]

    return ServedModel()


def _outputs(score: "tf.Tensor", classes: list[str], threshold: float) -> dict[str, "tf.Tensor"]:
    import tensorflow as tf

    if len(classes) == 2:
        probability = tf.sigmoid(score)
        index = tf.cast(probability[:, 0] >= threshold, tf.int32)
    else:
        probability = tf.nn.softmax(score)
        index = tf.argmax(score, axis=-1, output_type=tf.int32)
    return {
        "probability": probability,
        "label": tf.gather(tf.constant(classes), index),
        "in_distribution": tf.ones_like(probability[:, 0]),
        "uncertain": tf.zeros_like(probability[:, 0], tf.bool),
    }
