import numpy as np
import pytest

from components.efficientnet_lite0 import BATCH_NORM_EPSILON, CHANNELS, build_backbone, grid_cells, weights_source
from components.pytorch_weights import read_state_dict


@pytest.mark.parametrize("side_px", [64, 192, 224])
def test_both_stages_lie_on_one_grid(side_px: int) -> None:
    cells = grid_cells(side_px)
    assert build_backbone(side_px).output_shape == (None, cells, cells, CHANNELS)
    assert (grid_cells(192), CHANNELS) == (12, 304)


def test_weights_are_the_published_ones_and_frozen() -> None:
    source = weights_source()
    assert source["sha256"].startswith("57934424")  # the first digits stand in the name of the published file
    assert build_backbone(64).trainable_weights == []


def test_stem_is_convolution_batch_normalisation_and_relu6() -> None:
    import keras
    import tensorflow as tf

    from components.efficientnet_lite0 import _weights_file

    state = read_state_dict(_weights_file())
    pixels = np.random.default_rng(0).random((1, 64, 64, 3)).astype(np.float32)
    backbone = build_backbone(64)
    stem = keras.Model(backbone.input, backbone.get_layer("conv_stem_relu6").output)(pixels).numpy()
    scaled = pixels * 255 / 128 - 127 / 128
    kernel = state["_conv_stem.weight"].transpose(2, 3, 1, 0)
    raw = tf.nn.conv2d(scaled, kernel, strides=2, padding="SAME").numpy()
    mean, variance = state["_bn0.running_mean"], state["_bn0.running_var"]
    normal = (raw - mean) / np.sqrt(variance + BATCH_NORM_EPSILON) * state["_bn0.weight"] + state["_bn0.bias"]
    assert stem == pytest.approx(np.clip(normal, 0, 6), abs=1e-4)


def test_network_recognises_a_photograph() -> None:
    """With the rest of the published network on top, a photograph of a Chinese temple is one of a palace, class 698."""
    import tensorflow as tf
    from sklearn.datasets import load_sample_image

    from components.efficientnet_lite0 import _weights_file

    state = read_state_dict(_weights_file())
    photograph = tf.image.resize(load_sample_image("china.jpg")[None, :, 106:533], (224, 224), antialias=True) / 255

    def convolve(x: tf.Tensor, name: str, norm: str, activation: bool = True, depthwise: bool = False) -> tf.Tensor:
        weights = state[f"{name}.weight"]
        if depthwise:
            x = tf.nn.depthwise_conv2d(x, weights.transpose(2, 3, 0, 1), [1, 1, 1, 1], "SAME", dilations=[2, 2])
        else:
            x = tf.nn.conv2d(x, weights.transpose(2, 3, 1, 0), 1, "SAME")
        scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
        x = x * scale + (state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)
        return tf.nn.relu6(x) if activation else x

    x = build_backbone(224)(photograph)[..., 112:]  # the end of stage 6, moved by half a cell
    x = convolve(x, "_blocks.15._expand_conv", "_blocks.15._bn0")
    x = convolve(x, "_blocks.15._depthwise_conv", "_blocks.15._bn1", depthwise=True)
    x = convolve(x, "_blocks.15._project_conv", "_blocks.15._bn2", activation=False)
    x = tf.reduce_mean(convolve(x, "_conv_head", "_bn1"), axis=(1, 2))
    scores = (x @ state["_fc.weight"].T + state["_fc.bias"]).numpy()[0]
    assert 698 in np.argsort(-scores)[:3]


@pytest.mark.parametrize("channels", [slice(0, 112), slice(112, CHANNELS)], ids=["stage 5", "stage 6"])
def test_maps_lie_where_their_cells_are(channels: slice) -> None:
    """A bright spot changes the features around the cell that it is in: the mean of the change is not moved aside."""
    backbone, rng = build_backbone(192), np.random.default_rng(0)
    y, x = np.mgrid[:192, :192]
    ground = np.full((1, 192, 192, 3), 0.35, np.float32)
    before, offsets = backbone(ground).numpy()[0], []
    for _ in range(40):
        centre = rng.uniform(60, 132, 2)
        spot = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 98)[None, ..., None]
        change = np.abs(backbone((ground * (1 - spot) + spot).astype(np.float32)).numpy()[0] - before)[..., channels].sum(axis=-1)
        change = np.maximum(change - np.percentile(change, 70), 0)
        cells = np.mgrid[:12, :12] + 0.5
        offsets.append([(cells[axis] * change).sum() / change.sum() * 16 - centre[axis] for axis in (0, 1)])
    assert np.mean(offsets, axis=0) == pytest.approx([0, 0], abs=4)  # a quarter of a cell
