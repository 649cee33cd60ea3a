"""The hyper-parameters of a training."""

import math
from dataclasses import dataclass, fields

from brain_tumor.errors import InputError

HEADS = ("flatten", "pool")


@dataclass(frozen=True)
class TrainConfig:
    """The published recipe where nothing else is said; every field is a pipeline parameter of the same name.

    Attributes:
        head: `pool` keeps the maximum of each feature map: 50 times fewer weights, and a heatmap that points; `flatten` is the
            published one.
        image_size_px: side of the square the network sees.
        filters: of the first convolution; each of the three doubles them.
        dense_units: of the hidden dense layer.
        dropout: share of the dense units switched off in training.
        l2: weight decay of the convolutions' kernels.
        batch_norm_momentum: of the moving statistics; 0.99 never settles in the few steps of a small data set.
        learning_rate: of Adam, at the start. With `flatten` and few images 1e-4 is steadier.
        batch_size: images a step, over all GPUs.
        epochs: at most; early stopping usually ends before.
        early_stopping_patience: epochs without a lower validation loss before training stops.
        reduce_lr_patience: the same, before the learning rate is halved.
        rotation_deg: augmentation: at most this rotation, either way.
        zoom: augmentation: at most this share larger or smaller.
        shear_deg: augmentation: at most this shear, either way.
        horizontal_flip: augmentation: mirror half of the images.
        threshold: probability of a tumour from which the label is `tumor`; two classes only.
        seed: of the weights, the order and the augmentation.
    """

    head: str = "pool"
    image_size_px: int = 150
    filters: int = 32
    dense_units: int = 128
    dropout: float = 0.5
    l2: float = 1e-4
    batch_norm_momentum: float = 0.8
    learning_rate: float = 7e-4
    batch_size: int = 16
    epochs: int = 30
    early_stopping_patience: int = 10
    reduce_lr_patience: int = 4
    rotation_deg: float = 15.0
    zoom: float = 0.1
    shear_deg: float = 5.0
    horizontal_flip: bool = True
    threshold: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError that names the field, what came and what is wanted."""
        wanted = {
            "head": (self.head in HEADS, f"one of {', '.join(HEADS)}"),
            "image_size_px": (32 <= self.image_size_px <= 1024, "32 to 1024"),
            "dropout": (0 <= self.dropout < 1, "0 up to, but not, 1"),
            "l2": (0 <= self.l2 < math.inf, "0 or more"),
            "batch_norm_momentum": (0 < self.batch_norm_momentum < 1, "between 0 and 1"),
            "learning_rate": (0 < self.learning_rate < math.inf, "above 0"),
            "rotation_deg": (0 <= self.rotation_deg <= 180, "0 to 180"),
            "zoom": (0 <= self.zoom < 1, "0 up to, but not, 1"),
            "shear_deg": (0 <= self.shear_deg < 90, "0 up to, but not, 90"),
            "threshold": (0 < self.threshold < 1, "between 0 and 1"),
            "seed": (0 <= self.seed < 2**31, "0 up to, but not, 2**31"),
        }
        for name in ("filters", "dense_units", "batch_size", "epochs", "early_stopping_patience", "reduce_lr_patience"):
            wanted[name] = (getattr(self, name) >= 1, "1 or more")
        for field in fields(self):
            holds, what = wanted.get(field.name, (True, ""))
            if not holds:
                raise InputError(f"{field.name} is {getattr(self, field.name)!r}, wanted {what}")
