"""What the results take from a source image: the attributes of its patient and study, its identity, and where it lies."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage, MRImageStorage
from pydicom.valuerep import validate_value

from brain_tumor.dicom_display import numbers

MR_IMAGES = (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
# Attributes of patient and study that every instance has, possibly empty (type 2 in DICOM PS3.3 C.7.1.1 and C.7.2.1).
REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
)
OPTIONAL = ("IssuerOfPatientID", "StudyDescription", "PatientAge")
SEXES = ("M", "F", "O")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")  # control characters, and the one that separates values
LENGTH_TOLERANCE = 1e-3  # of the two directions of an image, unit vectors at right angles, and of their product


@dataclass(frozen=True)
class Geometry:
    """Where an image lies in the patient (DICOM PS3.3 C.7.6.2).

    Attributes:
        position: Centre of its first pixel, float64 [3], in mm.
        right: Direction of a row, from left to right, unit vector, float64 [3].
        down: Direction of a column, from top to bottom, unit vector, float64 [3].
        spacing: Distance between rows and between columns, in mm.
        size: Number of rows and columns.
        thickness: Thickness of the slice in mm; None if it is not stated.
        frame_of_reference: UID of the coordinate system.
    """

    position: np.ndarray
    right: np.ndarray
    down: np.ndarray
    spacing: tuple[float, float]
    size: tuple[int, int]
    thickness: float | None
    frame_of_reference: str


def read_header(source: Dataset) -> Dataset:
    """Return the attributes of patient, study and instance that the results share or refer to.

    What the standard does not allow (too long, of another form, several values) is left empty, so that no result inherits it.

    Raises:
        ValueError: A UID of `IDENTITY` is missing, the storage class is none of `MR_IMAGES`, or the Patient ID is one that the
            standard does not allow, without which a PACS would file the results under another patient; the message names the
            attribute, and no value.
    """
    header = Dataset()
    for keyword in IDENTITY:
        value = str(_value(source, keyword) or "").strip("\0 ")
        if not value:
            raise ValueError(f"a source image has no {keyword}")
        setattr(header, keyword, value)
    if header.SOPClassUID not in MR_IMAGES:
        raise ValueError("a source image has a SOPClassUID that is none of MR images")
    for keyword in REQUIRED:
        setattr(header, keyword, _text(source, keyword))
    if _value(source, "PatientID") and not header.PatientID:
        raise ValueError("a source image has a PatientID that DICOM does not allow")
    if header.PatientSex not in SEXES:
        header.PatientSex = ""
    for keyword in (*OPTIONAL, "SeriesNumber"):
        if text := _text(source, keyword):
            setattr(header, keyword, text)
    header.SpecificCharacterSet = "ISO_IR 192"
    return header


def read_geometry(source: Dataset, frame: int | None) -> Geometry | None:
    """Return where a frame lies, its number counted from 1; None if the source does not state it validly."""
    position = numbers(of_frame(source, frame, "PlanePositionSequence", "ImagePositionPatient"), 3)
    axes = numbers(of_frame(source, frame, "PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    spacing = numbers(of_frame(source, frame, "PixelMeasuresSequence", "PixelSpacing"), 2)
    thickness = numbers(of_frame(source, frame, "PixelMeasuresSequence", "SliceThickness"), 1)
    size = numbers((_value(source, "Rows"), _value(source, "Columns")), 2)
    frame_of_reference = _text(source, "FrameOfReferenceUID")
    if position is None or axes is None or spacing is None or size is None or not frame_of_reference:
        return None
    right, down = np.array(axes[:3]), np.array(axes[3:])
    if frame_of_reference in [_text(source, keyword) for keyword in IDENTITY]:  # which stands for no coordinate system
        return None
    lengths = [np.linalg.norm(vector) for vector in (right, down, np.cross(right, down))]
    if min(*spacing, *size) <= 0 or not np.allclose(lengths, 1, atol=LENGTH_TOLERANCE):
        return None
    return Geometry(
        position=np.array(position),
        right=right,
        down=down,
        spacing=(spacing[0], spacing[1]),
        size=(int(size[0]), int(size[1])),
        thickness=thickness[0] if thickness and thickness[0] > 0 else None,
        frame_of_reference=frame_of_reference,
    )


def _value(source: Dataset, keyword: str) -> Any:
    """Return the value of an attribute; None if it is missing or cannot be read."""
    try:
        return source.get(keyword)
    except Exception:  # what pydicom raises for a value that does not fit its representation depends on the representation
        return None


def _text(source: Dataset, keyword: str) -> str:
    """Return the single valid value of an attribute as text; empty if there is none."""
    value = _value(source, keyword)
    if value is None or isinstance(value, MultiValue | bytes):
        return ""
    text = str(value).strip("\0 ")
    try:
        validate_value(dictionary_VR(keyword), text, RAISE)
    except ValueError:
        return ""
    return "" if UNPRINTABLE.search(text) else text


def of_frame(source: Dataset, frame: int | None, group: str, keyword: str) -> Any:
    """Return an attribute of a frame: of its own functional group, else of the one that all frames share, else of the file."""
    per_frame, shared = (_value(source, f"{kind}FunctionalGroupsSequence") or [] for kind in ("PerFrame", "Shared"))
    for groups in (*per_frame[(frame or 1) - 1 : frame or 1], *shared[:1]):
        for item in (_value(groups, group) or [])[:1]:
            if (value := _value(item, keyword)) is not None:
                return value
    return _value(source, keyword)
