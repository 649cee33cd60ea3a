"""DICOM files that are damaged, or state what is not so."""

import io
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom

from tests.brain_tumor.dicoms import ENCODERS, PHI, dicom
from tests.brain_tumor.test_images import damaged

MAX_SOURCE_BYTES = 200_000
LEVELS = (np.add.outer(np.arange(40) * 37, np.arange(60) * 29) + 300).astype(np.uint16)
NUMBERS = (-1, 0, 1, 2, 3, 7, 8, 12, 16, 32, 255, 512, 65_535)
# What the decoder depends on, each with values that it may not expect.
STATEMENTS = {
    **dict.fromkeys(("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit"), NUMBERS[1:]),
    **dict.fromkeys(("PixelRepresentation", "PlanarConfiguration"), NUMBERS[1:]),
    "NumberOfFrames": (*NUMBERS, 10**6, 2**31 - 1),
    "PhotometricInterpretation": (
        "MONOCHROME1",
        "RGB",
        "PALETTE COLOR",
        "YBR_FULL",
        "YBR_FULL_422",
        "YBR_ICT",
        "YBR_RCT",
        "",
        "X",
    ),
    **dict.fromkeys(
        ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"), ("0", "-1", "1e308", "1e-308", "nan", "")
    ),
    **dict.fromkeys(("PixelSpacing", "PixelAspectRatio"), (["1e-9", "1"], ["1", "9999"], ["nan", "1"], ["0", "0"], ["5"])),
}


def sources() -> list[bytes]:
    """Return files of every kind, among them pydicom's own small ones."""
    files = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
    small = [file.read_bytes() for file in files if file.stat().st_size < MAX_SOURCE_BYTES]
    made = [
        dicom(LEVELS if "Baseline" not in syntax.name else (LEVELS >> 4).astype(np.uint8), syntax, **PHI)
        for syntax in (*ENCODERS, pydicom.uid.RLELossless, pydicom.uid.ExplicitVRLittleEndian)
    ]
    return made * 3 + small


def damaged_dicoms(count: int) -> Iterator[bytes]:
    """Generate files: damaged anywhere, in their compressed pixels, or with another statement of what they hold."""
    rng = np.random.default_rng(0)
    for source in itertools.islice(itertools.cycle(sources()), count):
        kind = rng.integers(3)
        if kind == 0:
            yield damaged(source, rng)
        elif kind == 1:
            start = int(rng.integers(len(source) // 2, len(source) - 8))
            yield source[:start] + damaged(source[start:], rng)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pydicom's, of the values
                misstated = _misstated(source, rng)
            yield misstated


def _misstated(source: bytes, rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    try:
        dataset = pydicom.dcmread(io.BytesIO(source), force=True)
        for keyword in rng.choice(list(STATEMENTS), size=rng.integers(1, 4), replace=False):
            values = STATEMENTS[keyword]
            if rng.integers(5) == 0:
                dataset.pop(keyword, None)
            else:
                setattr(dataset, keyword, values[rng.integers(len(values))])
        pydicom.dcmwrite(buffer, dataset)
    except Exception:  # pydicom cannot write some statements
        return damaged(source, rng)
    return buffer.getvalue()
