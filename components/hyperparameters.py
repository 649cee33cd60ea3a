"""The hyper-parameters of a training: names, types, bounds, defaults and meanings, stated once."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from brain_tumor.errors import InputError
from components.values import as_input_error, unknown_name

Head = Literal["flatten", "pool"]


class TrainConfig(BaseModel):
    """The hyper-parameters of a training. The defaults are the published recipe with `head=pool`.

    Each field is a key of the pipeline parameter `hyperparameters`, a `--set NAME=VALUE` of the pipeline's commands and a flag of
    `python -m components.train`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    head: Head = Field(
        default="pool",
        description="`pool` keeps the maximum of each feature map: 50 times fewer weights and a more precise heatmap; "
        "`flatten` is the published head.",
    )
    image_size_px: int = Field(default=150, ge=32, le=1024, description="Side of the square network input in pixels.")
    filters: int = Field(default=32, ge=1, description="Filters of the first convolution; each of the next two doubles them.")
    dense_units: int = Field(default=128, ge=1, description="Units of the hidden dense layer.")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="Fraction of the dense units dropped in training.")
    l2: float = Field(default=1e-4, ge=0, description="L2 weight decay of the convolution kernels.")
    batch_norm_momentum: float = Field(
        default=0.8, gt=0, lt=1, description="Momentum of the moving statistics; 0.99 never settles on a small dataset."
    )
    learning_rate: float = Field(
        default=7e-4, gt=0, description="Initial learning rate of Adam; with `flatten` and few images 1e-4 is more stable."
    )
    batch_size: int = Field(default=16, ge=1, description="Images per step, over all GPUs.")
    epochs: int = Field(default=30, ge=1, description="Maximum number of epochs; early stopping usually ends sooner.")
    early_stopping_patience: int = Field(
        default=10, ge=1, description="Epochs without a lower validation loss before training stops."
    )
    reduce_lr_patience: int = Field(
        default=4, ge=1, description="Epochs without a lower validation loss before the learning rate is halved."
    )
    rotation_deg: float = Field(default=15.0, ge=0, le=180, description="Augmentation: maximum rotation in degrees, either way.")
    zoom: float = Field(
        default=0.1, ge=0, lt=1, description="Augmentation: maximum enlargement or reduction, as a fraction of the size."
    )
    shear_deg: float = Field(default=5.0, ge=0, lt=90, description="Augmentation: maximum shear in degrees, either way.")
    horizontal_flip: bool = Field(default=True, description="Augmentation: mirror half of the images.")
    threshold: float = Field(
        default=0.5, gt=0, lt=1, description="Tumour probability from which the label is `tumor`; two classes only."
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="Random seed of the weights, the image order and the augmentation.")

    @classmethod
    def from_overrides(cls, overrides: Mapping[str, Any], **values: Any) -> Self:
        """Return the defaults with some values replaced.

        Args:
            overrides: The pipeline parameter `hyperparameters`: values by name, without `seed`.
            values: Further values by name, `seed` among them.

        Raises:
            InputError: An unknown name, or a value of a wrong type or out of its bounds.
        """
        if "seed" in overrides:
            raise InputError("hyperparameters: got seed, which is a parameter of its own: set seed instead")
        for name in overrides:
            if name not in cls.model_fields:
                raise unknown_name("hyperparameters", name, cls.model_fields.keys() - {"seed"})
        try:
            return cls(**overrides, **values)
        except ValidationError as error:
            raise as_input_error(error) from error

    @classmethod
    def help_texts(cls) -> dict[str, str]:
        """Return the meaning and default of each field, one line each."""
        return {name: f"{field.description} default: {str(field.default).lower()}" for name, field in cls.model_fields.items()}

    @field_validator("*", mode="before")
    @classmethod
    def _whole_float_to_int(cls, value: Any, info: ValidationInfo) -> Any:
        """Turn 16.0 into 16 for an integer field: Kubeflow passes every number of a JSON object as a float."""
        is_int = cls.model_fields[str(info.field_name)].annotation is int
        return int(value) if is_int and isinstance(value, float) and value.is_integer() else value
