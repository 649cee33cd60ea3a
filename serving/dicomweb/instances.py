"""What all results have in common: patient and study, equipment, and references to the source images."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset, validate_file_meta
from pydicom.uid import UID, ExplicitVRLittleEndian

from serving.dicomweb.analysed_series import AnalysedSeries, Slice
from serving.dicomweb.codes import SOURCE_IMAGE
from serving.dicomweb.source_image import OPTIONAL, REQUIRED

# Above the numbers that scanners give their series.
REPORT_SERIES_NUMBER, MAP_SERIES_NUMBER, CAPTURE_SERIES_NUMBER = 9001, 9002, 9003


def equipment(series: AnalysedSeries) -> dict[str, str]:
    """Return the attributes of the equipment, keyword -> value."""
    return {
        "Manufacturer": "Brain-tumour detection on MRI slices",
        "ManufacturerModelName": series.model,
        "DeviceSerialNumber": f"{series.model} {series.version}",
        "SoftwareVersions": series.version,
    }


def describe_series(series: AnalysedSeries, objects: str) -> str:
    """Return the description of a series of results, at most 64 characters.

    Args:
        series: The series that they are derived from.
        objects: What they are, in plural.
    """
    number = series.headers[0].get("SeriesNumber")
    of_series = "" if number is None else f" of series {number}"
    return f"Not for diagnosis: {objects}{of_series}, {series.model} {series.version}"[:64]


def new_image(series: AnalysedSeries, sop_class: UID, uid: str, **attributes: Any) -> Dataset:
    """Return a derived image in the study of the series, without pixels.

    Args:
        series: The series that it is derived from.
        sop_class: SOP Class UID.
        uid: SOP Instance UID.
        attributes: Further attributes by keyword.
    """
    image, now = Dataset(), datetime.now()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = sop_class, UID(uid)
    validate_file_meta(image.file_meta)
    image.file_meta.FileMetaInformationGroupLength = 0  # pydicom computes it when it writes the file
    image.preamble = b"\0" * 128
    for keyword in ("SpecificCharacterSet", "StudyInstanceUID", *REQUIRED, *OPTIONAL):
        if keyword in series.headers[0]:
            image[keyword] = series.headers[0][keyword]
    image.SOPClassUID, image.SOPInstanceUID = sop_class, uid
    image.Modality, image.Laterality = "OT", ""
    image.ContentDate = image.InstanceCreationDate = now.strftime("%Y%m%d")
    image.ContentTime = image.InstanceCreationTime = now.strftime("%H%M%S.%f")
    for keyword, value in (equipment(series) | attributes).items():
        setattr(image, keyword, value)
    return image


def references(slices: Iterable[Slice]) -> list[Dataset]:
    """Return one reference to each instance of the slices, with the numbers of their frames if it has several."""
    items: dict[str, Dataset] = {}
    for each in slices:
        item = items.setdefault(each.header.SOPInstanceUID, Dataset())
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = each.header.SOPClassUID, each.header.SOPInstanceUID
        if each.frame is not None:
            item.ReferencedFrameNumber = [*frame_numbers(item), each.frame]
    return list(items.values())


def frame_numbers(reference: Dataset) -> list[int]:
    """Return the numbers of the frames that are referred to, from 1; none for an instance of one frame."""
    numbers = reference.get("ReferencedFrameNumber")
    return [] if numbers is None else [int(number) for number in ([numbers] if isinstance(numbers, int) else numbers)]


def source_image_sequence(slices: Iterable[Slice]) -> list[Dataset]:
    """Return the references to the instances of the slices as sources of a derived image."""
    items = references(slices)
    for item in items:
        item.PurposeOfReferenceCodeSequence = [SOURCE_IMAGE]
    return items
