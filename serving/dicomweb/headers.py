"""Read the header of a DICOM file, in a process that a hostile file may end."""

import io
import logging
import warnings

import pydicom
from pydicom import Dataset

from brain_tumor.dicom import is_dicom
from brain_tumor.processes import CallError, Processes

READ_SECONDS = 10.0
READER_BYTES = 512 * 2**20
DAMAGED = "it is not a DICOM file, or is damaged"
FIRST_OMITTED_GROUP = 0x5000  # curves, overlays and pixels

# It quotes values of the file in what it prints.
logging.getLogger("pydicom").disabled = True
warnings.filterwarnings("ignore", module="pydicom")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
_reader = Processes("serving.dicomweb.headers", count=1, seconds=READ_SECONDS, memory_bytes=READER_BYTES)


def parse_header(data: bytes, study_uid: str, series_uid: str) -> Dataset:
    """Return the standard attributes of a file, without private ones, overlays and pixels.

    Args:
        data: The file.
        study_uid: Study Instance UID that it has.
        series_uid: Series Instance UID that it has.

    Raises:
        ValueError: It is no DICOM file, cannot be read, or is of another series.
        RuntimeError: No process can be started.
    """
    try:
        header = _reader.call((data, study_uid, series_uid))
    except CallError:
        header = DAMAGED
    if isinstance(header, str):
        raise ValueError(header)
    return header


def answer(request: tuple[bytes, str, str]) -> Dataset | str:
    """Return what `parse_header` returns, or the message of its error. Runs in the other process."""
    data, *expected_uids = request
    if not is_dicom(data):
        return DAMAGED
    try:
        header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
        uids = [str(header.get(keyword)).strip("\0 ") for keyword in ("StudyInstanceUID", "SeriesInstanceUID")]
        for tag in [tag for tag in header.keys() if tag.is_private or tag.group >= FIRST_OMITTED_GROUP]:  # noqa: SIM118
            del header[tag]
    except Exception:  # pydicom raises many kinds for damaged files
        return DAMAGED
    return header if uids == expected_uids else "it states another study or series than the PACS"
