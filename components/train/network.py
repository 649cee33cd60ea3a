"""The architecture of the network."""

from typing import TYPE_CHECKING

from components.hyperparameters import TrainConfig

if TYPE_CHECKING:
    import keras

LAST_CONVOLUTION = "convolution_3"
LOGITS = "logits"


def build_model(config: TrainConfig, classes: int) -> "keras.Model":
    """Build three blocks of convolution, batch normalisation and pooling, and a dense head.

    The score before the sigmoid or softmax is a layer of its own (`logits`), because Grad-CAM takes its gradient.

    Args:
        config: Hyper-parameters.
        classes: Number of classes. Two give one sigmoid, more a softmax.

    Returns:
        A model from float32 [N, size, size, 3] in 0-1 to the probability, float32 [N, 1] or [N, classes].
    """
    import keras
    from keras import layers

    inputs = keras.Input((config.image_size_px, config.image_size_px, 3), name="pixels")
    x = inputs
    for block in (1, 2, 3):
        x = layers.Conv2D(
            config.filters * 2 ** (block - 1),
            3,
            padding="same",
            activation="relu",
            kernel_regularizer=keras.regularizers.L2(config.l2),
            name=f"convolution_{block}",
        )(x)
        x = layers.BatchNormalization(momentum=config.batch_norm_momentum, name=f"normalization_{block}")(x)
        x = layers.MaxPooling2D(name=f"pooling_{block}")(x)
    x = layers.Flatten(name="head")(x) if config.head == "flatten" else layers.GlobalMaxPooling2D(name="head")(x)
    x = layers.Dense(config.dense_units, activation="relu", name="dense")(x)
    x = layers.Dropout(config.dropout, name="dropout")(x)
    # float32 under mixed precision too: float16 rounds probabilities near 0 and 1.
    x = layers.Dense(1 if classes == 2 else classes, dtype="float32", name=LOGITS)(x)
    outputs = layers.Activation("sigmoid" if classes == 2 else "softmax", dtype="float32", name="probability")(x)
    return keras.Model(inputs, outputs, name=f"cnn_{config.head}")
