"""The module that is exported as the SavedModel, with both signatures."""

from typing import TYPE_CHECKING

from components.decision import Decision
from components.decode import decode_batch, heatmap_of_whole_image
from components.in_distribution import InDistribution
from components.trained import Network

if TYPE_CHECKING:
    import tensorflow as tf


def served_model(network: Network, decision: Decision, in_distribution: InDistribution) -> "tf.Module":
    """Wrap a network in a module that takes encoded images, decides and explains the decision.

    Returns:
        A module with `serving_default` and `explain`: from `image_bytes`, string [N], to the outputs of the model contract.
    """
    import tensorflow as tf

    encoded = tf.TensorSpec([None], tf.string, name="image_bytes")

    class ServedModel(tf.Module):
        def __init__(self) -> None:
            super().__init__(name="brain_tumor")
            self.parts = list(network.parts)

        @tf.function(input_signature=[encoded], autograph=False)
        def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            pixels, _ = decode_batch(image_bytes, network.image_size_px, crop=network.crops_brain)
            score, features = network.score(pixels)
            return decision.outputs(score) | {"in_distribution": in_distribution.outputs(features)}

        @tf.function(input_signature=[encoded], autograph=False)
        def explain(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            pixels, boxes = decode_batch(image_bytes, network.image_size_px, crop=network.crops_brain)
            score, features, heatmap = network.explain(pixels, decision.decide)
            if network.crops_brain:
                heatmap = heatmap_of_whole_image(heatmap, boxes)
            heatmap = tf.math.divide_no_nan(heatmap, tf.reduce_max(heatmap, axis=(1, 2), keepdims=True))
            outputs = decision.outputs(score) | {"in_distribution": in_distribution.outputs(features)}
            return outputs | {"heatmap": heatmap}

    return ServedModel()
