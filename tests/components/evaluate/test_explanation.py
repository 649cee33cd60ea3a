from pathlib import Path

import numpy as np
import pytest

from components.evaluate.explanation import explanation_method, permute_weights
from components.saved_model import SavedModel


@pytest.mark.slow
def test_every_weight_array_is_permuted_with_its_seed(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.kernel, module.bias = tf.Variable(np.arange(12.0).reshape(3, 4)), tf.Variable(np.arange(100, 110.0))
    module.explain = tf.function(
        lambda image_bytes: {"kernel": module.kernel + 0, "bias": module.bias + 0},
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")],
    )
    tf.saved_model.save(module, str(tmp_path), {"explain": module.explain})
    first, same, other, unchanged = (SavedModel(tmp_path) for _ in range(4))
    for model, seed in ((first, 3), (same, 3), (other, 4)):
        permute_weights(model, seed=seed)

    weights, repeated, differing, original = (model.run_signature("explain", [b""]) for model in (first, same, other, unchanged))

    for name, values in (("kernel", np.arange(12.0).reshape(3, 4)), ("bias", np.arange(100, 110.0))):
        np.testing.assert_array_equal(original[name], values)
        np.testing.assert_array_equal(weights[name], repeated[name])
        np.testing.assert_array_equal(np.sort(weights[name], axis=None), values.ravel())
        assert (weights[name] != values).any()
        assert (weights[name] != differing[name]).any()


def test_model_of_0_1_0_is_explained_by_grad_cam() -> None:
    assert explanation_method({}) == "grad_cam"
    assert explanation_method({"explanation": "evidence"}) == "evidence"
