"""The hyper-parameters that every architecture has; each architecture's own are in its file in components/architectures/."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

ImageSizePx = Annotated[int, Field(ge=32, le=1024, description="Side of the square network input in pixels.")]
LearningRate = Annotated[float, Field(gt=0, description="Initial learning rate.")]
BatchSize = Annotated[int, Field(ge=1, description="Images per step; with `cnn` over all GPUs.")]
Epochs = Annotated[int, Field(ge=1, description="Maximum number of epochs; early stopping of `cnn` usually ends sooner.")]
Zoom = Annotated[
    float, Field(ge=0, lt=1, description="Augmentation: maximum enlargement or reduction, as a fraction of the size.")
]
Threshold = Annotated[
    Annotated[float, Field(gt=0, lt=1)] | Literal["auto"],
    Field(
        description="Tumour probability from which the label is `tumor`; two classes only. `auto` is the highest one with the "
        "sensitivity `threshold_sensitivity` on training images that the scoring network was not trained on, at most 0.5."
    ),
]


class TrainConfig(BaseModel):
    """The hyper-parameters that every architecture has; a subclass adds its own, and the defaults of those without.

    Each field is a key of the pipeline parameter `hyperparameters`, a `--set NAME=VALUE` of the pipeline's commands and a flag of
    `python -m components.train`.

    Attributes:
        scores_by_fold: Whether a training itself scores each training and validation image without the fold that it is in.
    """

    scores_by_fold: ClassVar[bool] = False

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    architecture: str
    image_size_px: ImageSizePx
    learning_rate: LearningRate
    batch_size: BatchSize
    epochs: Epochs
    rotation_deg: float = Field(default=15.0, ge=0, le=180, description="Augmentation: maximum rotation in degrees, either way.")
    zoom: Zoom
    horizontal_flip: bool = Field(default=True, description="Augmentation: mirror half of the images.")
    threshold: Threshold
    threshold_sensitivity: float = Field(default=0.95, gt=0, lt=1, description="Minimum sensitivity of `threshold=auto`.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Random seed of the weights, the image order and the augmentation.")

    @field_validator("*", mode="before")
    @classmethod
    def _whole_float_to_int(cls, value: Any, info: ValidationInfo) -> Any:
        """Turn 16.0 into 16 for an integer field: Kubeflow passes every number of a JSON object as a float."""
        is_int = cls.model_fields[str(info.field_name)].annotation is int
        return int(value) if is_int and isinstance(value, float) and value.is_integer() else value
