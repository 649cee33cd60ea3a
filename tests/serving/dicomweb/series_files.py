"""Series of DICOM files for tests."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import generate_uid

from tests.brain_tumor.dicoms import PHI, dicom, with_private_phi

AXIAL, CORONAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]
DESCRIPTION = "T1 axial 3 mm"


def series(slices: int = 3, **attributes: Any) -> list[bytes]:
    """Return the files of a series with identifying values, 32 x 32 pixels; `attributes` replace those of every file.

    Some of the values are in private elements, and some in a sequence.
    """
    shared: dict[str, Any] = {
        **PHI,
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "SeriesDescription": DESCRIPTION,
        "StudyDate": "20040101",
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "ImageOrientationPatient": AXIAL,
        "PixelSpacing": [1, 1],
        "SliceThickness": 3,
        "SeriesNumber": 3,
    }
    rng = np.random.default_rng(0)
    return [
        with_private_phi(
            dicom(
                rng.integers(0, 1000, (32, 32)).astype(np.uint16),
                **{**shared, "InstanceNumber": number + 1, "ImagePositionPatient": [0, 0, 3.0 * number], **attributes},
            )
        )
        for number in range(slices)
    ]


def write(files: list[bytes], folder: Path) -> Path:
    """Write files into a folder under numbers, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(files):
        (folder / f"{number:03}.dcm").write_bytes(file)
    return folder
