"""The rules that select series, and what is never analysed."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydicom import Dataset

from brain_tumor.dicom_display import numbers
from brain_tumor.errors import InputError
from brain_tumor.settings import expected_value
from serving.dicomweb.source_image import MR_IMAGES, of_frame

NEVER = ("LOCALIZER", "DERIVED")  # values of Image Type
# Of the axis to which a plane is nearest to orthogonal: x from right to left, y from front to back, z from foot to head.
ORIENTATIONS = ("sagittal", "coronal", "axial")


class Rule(BaseModel):
    """One entry of the rule file. A series is selected if every key matches it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    description: str = Field(description="Regular expression that the whole Series Description matches, in any case.")
    orientation: Literal["axial", "coronal", "sagittal"] | None = None
    least_slices: int = Field(default=1, ge=1)
    backlog: bool = Field(default=False, description="Whether series count that were in the PACS before the first start.")

    @field_validator("description")
    @classmethod
    def _check_description(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"got {pattern!r}, expected a regular expression: {error}") from None
        return pattern

    def selects(self, image: Dataset, slices: int, *, is_backlog: bool) -> bool:
        """Check an image of a series with this number of slices."""
        return (
            re.fullmatch(self.description, _text(image, "SeriesDescription"), re.IGNORECASE) is not None
            and self.orientation in (None, orientation(image))
            and slices >= self.least_slices
            and (self.backlog or not is_backlog)
        )


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Read the rule file.

    Raises:
        InputError: The file is missing, is not YAML, has no rule or an invalid one.
    """
    expected = "expected a YAML list with a rule, such as `- description: t1.*`"
    try:
        document = yaml.safe_load(path.read_text())
        rules = TypeAdapter(tuple[Rule, ...]).validate_python(document)
    except OSError as error:
        raise InputError(f"RULES: {path} cannot be read ({error.strerror}); nothing runs without rules") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"RULES: {path} is not YAML; {expected}") from None
    except ValidationError as error:
        raise InputError(f"RULES: {path}: {_violation(error, expected)}") from None
    if not rules:
        raise InputError(f"RULES: {path} has no rule; {expected}")
    return rules


def why_never(image: Dataset) -> str | None:
    """Return why an image is never analysed: `not_mr`, `localizer` or `derived`; None if it may be.

    Results of this gateway are none of the storage classes of MR images, and derived.
    """
    if _text(image, "SOPClassUID") not in MR_IMAGES:
        return "not_mr"
    kinds = {str(kind).strip().upper() for kind in _values(image, "ImageType")}
    return next((kind.lower() for kind in NEVER if kind in kinds), None)


def is_selected(rules: Iterable[Rule], image: Dataset, slices: int, *, is_backlog: bool) -> bool:
    """Check whether a rule selects the series of an image.

    Args:
        rules: The rules.
        image: Header of the image.
        slices: Number of slices of the series.
        is_backlog: Whether the series was in the PACS before the gateway's first start.
    """
    return any(rule.selects(image, slices, is_backlog=is_backlog) for rule in rules)


def orientation(image: Dataset) -> str | None:
    """Return `axial`, `coronal` or `sagittal`, the nearest to an image's plane; None if it does not state its orientation.

    The normal is the cross product of the directions of row and column (DICOM PS3.3 C.7.6.2.1.1).
    """
    cosines = numbers(of_frame(image, 1, "PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    if cosines is None:
        return None
    normal = np.abs(np.cross(cosines[:3], cosines[3:]))
    return ORIENTATIONS[int(normal.argmax())] if normal.max() > 0 else None


def _values(dataset: Dataset, keyword: str) -> Sequence[Any]:
    """Return the values of an attribute; none if it is missing or cannot be read."""
    try:
        value = dataset.get(keyword)
        return [] if value is None else [value] if isinstance(value, str) else list(value)
    except Exception:  # what pydicom raises for a damaged value depends on its representation
        return []


def _text(dataset: Dataset, keyword: str) -> str:
    return "\\".join(map(str, _values(dataset, keyword))).strip("\0 ")


def _violation(error: ValidationError, expected: str) -> str:
    details = error.errors()[0]
    number, *key = details["loc"] or ("",)
    if not isinstance(number, int):
        return expected
    return f"rule {number + 1}: {'.'.join(map(str, key))}: {expected_value(details).removeprefix('Value error, ')}"
