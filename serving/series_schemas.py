"""JSON schemas of POST /series, for /docs; `routes.py` reads the request and `series.py` makes the response."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from brain_tumor.model_card import NOTICE
from serving.schemas import (
    EXAMPLE,
    Base64,
    Classification,
    Explanation,
    File,
    Heatmap,
    ModelName,
    Threshold,
    UnitInterval,
    WarningCodes,
    Warnings,
)
from serving.series_summary import Order
from serving.settings import DEFAULT_HIGHEST, MAX_HIGHEST, MAX_SLICES

Index = Annotated[int, Field(ge=0, lt=MAX_SLICES, description="position in `slices`, from 0")]
PositionMm = Annotated[float | None, Field(description="position along the normal of the slice in mm; null if not stated")]


class SeriesOptions(BaseModel):
    """What a query or form may ask for, in addition to the files."""

    highest: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_HIGHEST,
            description=f"number of slices to explain, those with the highest probability of a tumour; default {DEFAULT_HIGHEST}",
        ),
    ] = None


class SeriesUpload(SeriesOptions):
    """Form with the slices of one series."""

    file: Annotated[
        list[File],
        Field(min_length=1, max_length=MAX_SLICES, description="the files of the series in any order, or one zip of them"),
    ]


class SeriesSlice(Classification):
    """What the model says of one slice."""

    file: Annotated[int, Field(ge=0, description="position of the slice's file in the form or zip, from 0")]
    frame: Annotated[int | None, Field(ge=1, description="number of the image in a file with several; else null")]
    position_mm: PositionMm
    instance_number: Annotated[int | None, Field(description="Instance Number of the DICOM file; null if not stated")]


class HighestSlice(BaseModel):
    """The explanation of a slice."""

    slice: Index
    heatmap: Heatmap
    overlay_png: Annotated[Base64, Field(description="PNG of heatmap and image")]


class Peak(BaseModel):
    """The slice with the highest probability of a tumour."""

    slice: Index
    probability: UnitInterval
    position_mm: PositionMm


class Summary(BaseModel):
    """What the model says of the slices together."""

    slices: Annotated[int, Field(ge=1, le=MAX_SLICES, description="number of slices")]
    reaching_threshold: Annotated[int, Field(ge=0, description="number of slices whose label is a tumour")]
    longest_run: Annotated[int, Field(ge=0, description="length of the longest run of neighbours that all reach the threshold")]
    longest_run_first: Annotated[Index | None, Field(description="first slice of that run; null if there is none")]
    peak: Peak


class SeriesPrediction(BaseModel):
    __doc__ = f"Predictions for the slices of one series, each on its own: no statement about the patient. {NOTICE}"

    model: ModelName
    threshold: Threshold
    explanation: Explanation
    notice: str
    order: Annotated[Order, Field(description="how the slices were put in order")]
    slices: Annotated[list[SeriesSlice], Field(min_length=1, max_length=MAX_SLICES, description="in their order")]
    highest: Annotated[list[HighestSlice], Field(max_length=MAX_HIGHEST, description="the highest probability first")]
    summary: Summary
    warnings: Warnings
    warning_codes: WarningCodes
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": {"name": "brain-tumor", "version": "1"},
                "threshold": 0.5,
                "explanation": "evidence",
                "notice": NOTICE,
                "order": "position",
                "slices": [
                    {
                        "file": 0,
                        "frame": None,
                        "position_mm": 12.5,
                        "instance_number": 18,
                        "label": "tumor",
                        "probability": 0.9312,
                        "confidence": 0.9312,
                        "in_distribution": 0.8741,
                        "uncertain": False,
                        "warning_codes": [],
                    }
                ],
                "highest": [
                    {
                        "slice": 0,
                        "heatmap": {"shape": [2, 2], "values": [0.0, 0.25, 0.5, 1.0], "label": "tumor"},
                        "overlay_png": EXAMPLE,
                    }
                ],
                "summary": {
                    "slices": 1,
                    "reaching_threshold": 1,
                    "longest_run": 1,
                    "longest_run_first": 0,
                    "peak": {"slice": 0, "probability": 0.9312, "position_mm": 12.5},
                },
                "warnings": [],
                "warning_codes": [],
            }
        }
    )
