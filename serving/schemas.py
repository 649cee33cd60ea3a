"""JSON schemas of requests and responses, for /docs; `v1.py` and `v2.py` read the requests."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from brain_tumor.model_card import NOTICE
from serving.errors import CODES
from serving.inference import WARNINGS
from serving.settings import MAX_IMAGES

# PNG of 8 x 8 grey pixels.
EXAMPLE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAGklEQVR4nGMUYIAAFnkYQxHGUCDMYHwPZQAALeQB2tscXdMAAAAASUVORK5CYII="
UnitInterval = Annotated[float, Field(ge=0, le=1)]
OutputName = Literal["probability", "label", "in_distribution", "uncertain", "heatmap", "overlay_png"]
Frame = Annotated[int | None, Field(ge=1, description="number of the image in a file with several; in V2 for one file alone")]
Base64 = Annotated[str, Field(json_schema_extra={"format": "byte"}, description="base64 of the bytes")]


class Error(BaseModel):
    """Error response of every route."""

    model_config = ConfigDict(json_schema_extra={"example": {"error": "not an image", "code": "not_an_image"}})
    error: str
    code: Annotated[str, Field(json_schema_extra={"enum": list(CODES)})]


class ModelName(BaseModel):
    name: str
    version: str


class Heatmap(BaseModel):
    shape: Annotated[list[int], Field(min_length=2, max_length=2, description="height and width")]
    values: Annotated[list[UnitInterval], Field(description="row by row")]
    label: Annotated[str, Field(description="class whose score the heatmap explains")]


Threshold = Annotated[UnitInterval | None, Field(description="threshold on `probability`; null for three and more classes")]
Explanation = Annotated[
    str, Field(description="method of the heatmap: `grad_cam`, or `evidence`, the map that the model sums into its score")
]
Warnings = Annotated[list[str], Field(description="reasons not to rely on the prediction, as sentences")]
WarningCodes = Annotated[
    list[Annotated[str, Field(json_schema_extra={"enum": list(WARNINGS)})]], Field(description="code of each of `warnings`")
]


class Classification(BaseModel):
    """What the model says of one image."""

    label: str
    probability: Annotated[
        UnitInterval | dict[str, UnitInterval],
        Field(description="probability of a tumour, or of each of three and more classes"),
    ]
    confidence: Annotated[UnitInterval, Field(description="probability of `label`")]
    in_distribution: Annotated[
        UnitInterval, Field(description="likeness to the training images; below 0.5: unlike them; 1 if not measured")
    ]
    uncertain: Annotated[bool, Field(description="whether the model cannot tell the classes apart at its error rate")]
    warning_codes: WarningCodes


class Prediction(Classification):
    __doc__ = f"Prediction for one image. {NOTICE}"

    threshold: Threshold
    explanation: Explanation
    model: ModelName
    warnings: Warnings
    heatmap: Annotated[Heatmap, Field(description="only if an explanation was requested")] = None  # type: ignore[assignment]
    overlay_png: Annotated[Base64, Field(description="PNG of heatmap and image; only if an explanation was requested")] = ""
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "label": "tumor",
                "probability": 0.9312,
                "threshold": 0.5,
                "confidence": 0.9312,
                "in_distribution": 0.8741,
                "uncertain": False,
                "explanation": "grad_cam",
                "model": {"name": "brain-tumor", "version": "1"},
                "warnings": [],
                "warning_codes": [],
                "heatmap": {"shape": [2, 2], "values": [0.0, 0.25, 0.5, 1.0], "label": "tumor"},
                "overlay_png": EXAMPLE,
            }
        }
    )


class Predictions(BaseModel):
    predictions: list[Prediction]


class Columns(BaseModel):
    """Response by column, to a request by column."""

    outputs: Annotated[dict[str, list[Any]], Field(description="each field of a prediction, as a list with one value an image")]


class Encoded(BaseModel):
    b64: Base64


class FormOptions(BaseModel):
    """What a query or form may ask for, in addition to the prediction."""

    explain: Annotated[bool, Field(description="also return the heatmap of the explanation and its overlay")] = False
    frame: Annotated[
        int | None,
        Field(description="number of the image to classify in a file with several, from 1", json_schema_extra={"minimum": 1}),
    ] = None


File = Annotated[
    str,
    Field(
        json_schema_extra={"format": "binary"},  # /docs then shows a file chooser
        description="an image file: JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF, PPM, JPEG 2000 or DICOM",
    ),
]


class Form(FormOptions):
    """Form with one image."""

    file: File


class Instance(BaseModel):
    image_bytes: Encoded
    frame: Frame = None


SignatureName = Annotated[
    Literal["", "serving_default", "explain"] | None, Field(description="`explain` also returns `heatmap` and `overlay_png`")
]
InputColumn = Annotated[list[Encoded], Field(min_length=1, max_length=MAX_IMAGES)]


class Instances(BaseModel):
    """Request of KServe's V1 protocol."""

    model_config = ConfigDict(json_schema_extra={"example": {"instances": [{"image_bytes": {"b64": EXAMPLE}}]}})
    instances: Annotated[list[Instance], Field(min_length=1, max_length=MAX_IMAGES)]
    signature_name: SignatureName = None


class Inputs(BaseModel):
    """Request of KServe's V1 protocol by column."""

    inputs: Annotated[InputColumn | dict[Literal["image_bytes"], InputColumn], Field(min_length=1)]
    signature_name: SignatureName = None


class InputTensor(BaseModel):
    name: Literal["image_bytes"]
    shape: Annotated[list[Annotated[int, Field(ge=1, le=MAX_IMAGES)]], Field(min_length=1, max_length=2)]
    datatype: Literal["BYTES"]
    data: Annotated[list[Base64], Field(min_length=1, max_length=MAX_IMAGES)]


class Parameters(BaseModel):
    explain: Annotated[bool, Field(description="also return `heatmap` and `overlay_png`")] = False
    frame: Frame = None


class Output(BaseModel):
    name: OutputName


class TensorRequest(BaseModel):
    """Request of the Open Inference Protocol. In the binary extension, the raw image file follows the JSON."""

    id: str | None = None
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=1)]
    parameters: Parameters | None = None
    outputs: list[Output] | None = None
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "inputs": [{"name": "image_bytes", "shape": [1], "datatype": "BYTES", "data": [EXAMPLE]}],
                "parameters": {"explain": True},
            }
        }
    )


class OutputTensor(BaseModel):
    name: OutputName
    shape: list[int]
    datatype: Literal["FP32", "BOOL", "BYTES"]
    data: Annotated[list[Any], Field(description="row by row; BYTES as base64 text")]


class TensorResponse(BaseModel):
    """Response of the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str
    parameters: Annotated[dict[str, Any], Field(description="`classes`, `threshold`, `warnings`")]
    outputs: list[OutputTensor]
