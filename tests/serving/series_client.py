"""Make series of DICOM files, and send them to POST /series."""

import io
import zipfile
from typing import Any

import httpx
import numpy as np
from pydicom.uid import generate_uid

from tests.brain_tumor.dicoms import dicom

AXIAL = [1, 0, 0, 0, 1, 0]
# Displays the levels 0-255 as they are.
WHOLE_RANGE: dict[str, Any] = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 128, "WindowWidth": 256}
SERIES_UID = generate_uid()
SIDE_PX = 24


def levels(level: int) -> np.ndarray:
    """Return an image of one grey level, 0-255, uint16 [SIDE_PX, SIDE_PX]."""
    return np.full((SIDE_PX, SIDE_PX), level, np.uint16)


def grey_slice(level: int, position: list[float] | None = None, **attributes: Any) -> bytes:
    """Return a DICOM file of `SERIES_UID` with one grey level; None removes an attribute."""
    plane = {} if position is None else {"ImagePositionPatient": position, "ImageOrientationPatient": AXIAL}
    return dicom(levels(level), **WHOLE_RANGE | {"SeriesInstanceUID": SERIES_UID} | plane | attributes)


def zip_of(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def streamed_zip_of(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip as programs write it that cannot go back in it: sizes and checksums follow the data of each member."""

    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.chunks: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.chunks.append(bytes(data))
            return len(data)

    stream = Stream()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return b"".join(stream.chunks)


def parts(files: list[bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (f"Mustermann-{number}.dcm", data)) for number, data in enumerate(files)]


def post(url: str, files: list[bytes], query: str = "", **fields: object) -> httpx.Response:
    """Send a series."""
    return httpx.post(f"{url}/series{query}", files=parts(files), data=fields, timeout=120)


def error(response: httpx.Response) -> tuple[int, str, str]:
    """Return status, code and message of an error."""
    document = response.json()
    return response.status_code, document["code"], document["error"]
