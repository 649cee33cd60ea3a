"""A data set as a hospital exports it: 30 phantom patients of 8 slices, in DICOM with identifying attributes of ten kinds."""

from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor.phantoms import make_phantom
from tests.brain_tumor.dicoms import PHI, PRIVATE_PHI, dicom, with_private_phi

PATIENTS, SLICES = 30, 8
IDENTIFYING: dict[str, Any] = {keyword: value for keyword, value in PHI.items() if keyword != "PatientID"}
PATIENT_ID = "MRN-77"  # the beginning of each
UID = "1.2.826.99"  # the root of every study and series
PLANTED = [PATIENT_ID, PRIVATE_PHI, UID, *(part for value in PHI.values() for part in value.split("^"))]


def patient_levels(patient: int) -> list[np.ndarray]:
    """Return 8 images of 12 bits that are no near copies, with a lesion in every second patient."""
    rng = np.random.default_rng(patient)
    return [make_phantom(rng, lesion=patient % 2 == 0)[0].astype(np.uint16) * 16 + 5 for _ in range(SLICES)]


def patient_files(patient: int) -> list[bytes]:
    """Return the files of a patient's slices; the first one has values in private elements and in a sequence, too."""
    shared: dict[str, Any] = {"StudyInstanceUID": f"{UID}.{patient}", "SeriesInstanceUID": f"{UID}.{patient}.3", **IDENTIFYING}
    files = [
        dicom(levels, BitsStored=12, HighBit=11, PatientID=f"{PATIENT_ID}{patient:02}", InstanceNumber=number, **shared)
        for number, levels in enumerate(patient_levels(patient))
    ]
    return [with_private_phi(files[0]), *files[1:]]


def write_patients(folder: Path, prefix: str = "") -> Path:
    """Write class folders with the files of all patients, numbered in their order behind a prefix, and return the folder."""
    for patient in range(PATIENTS):
        for number, data in enumerate(patient_files(patient)):
            file = folder / ("tumor" if patient % 2 == 0 else "no_tumor") / f"{prefix}{patient * SLICES + number:04}.dcm"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    return folder
