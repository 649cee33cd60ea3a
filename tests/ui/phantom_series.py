"""A series of DICOM slices of one phantom, whose lesion grows and shrinks along it."""

from typing import Any

import numpy as np
from pydicom.uid import generate_uid

from brain_tumor import phantoms
from tests.brain_tumor.dicoms import PHI, dicom

SPACING_MM = 3.0
SEED = 1


def phantom_series(count: int, *, first: int, last: int, size_px: int = 240) -> list[bytes]:
    """Return a file for each slice, with a lesion from the slice `first` to `last`, and identifying values in all of them."""
    series = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "PixelSpacing": [0.9, 0.9]} | PHI
    return [
        dicom(
            _levels(index, count, first, last, size_px),
            BitsStored=12,
            HighBit=11,
            WindowCenter=900,
            WindowWidth=1800,
            InstanceNumber=index + 1,
            ImagePositionPatient=[0, 0, SPACING_MM * index - 60],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            SeriesDate="20190807",
            **series,
        )
        for index in range(count)
    ]


def _levels(index: int, count: int, first: int, last: int, size_px: int) -> np.ndarray:
    """Return a slice of 12 bits, uint16 [size_px, size_px]: the anatomy shrinks towards the ends of the series."""
    rng: Any = np.random.default_rng(SEED)
    rows, columns = np.mgrid[-1 : 1 : size_px * 1j, -1 : 1 : size_px * 1j].astype(np.float32)
    shrunk = np.sqrt(1 - ((index - (count - 1) / 2) / (0.85 * count)) ** 2)
    x, y = columns / (0.78 * shrunk), rows / (0.94 * shrunk)
    contrast = phantoms.CONTRASTS[0]
    levels = phantoms._draw_anatomy(rng, x, y, contrast)
    middle, half = (first + last) / 2, (last - first) / 2 + 0.5
    size = 1 - ((index - middle) / half) ** 2
    if size > 0:
        distance = phantoms._relative_radius(rng, x - 0.36, y + 0.22) / (0.3 * np.sqrt(size))
        levels = phantoms._add_lesion(rng, levels, distance, contrast)[0]
    return (phantoms._simulate_scanner(rng, levels, rng).astype(np.uint16) << 4) | np.uint16(index % 16)
