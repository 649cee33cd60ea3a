"""Make source images and the answers of `POST /series` about them."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from brain_tumor.classes import NO_TUMOR, TUMOR
from brain_tumor.model_card import NOTICE
from brain_tumor.overlay import overlay_png
from brain_tumor.phantoms import make_phantom
from tests.brain_tumor.dicoms import dicom

PROBABILITIES = [0.01, 0.0312345678, 0.2, 0.45, 0.61, 0.87, 0.9912345504760742, 0.93, 0.7, 0.3, 0.52, 0.04]
SIZE = (48, 60)
OBLIQUE = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]


def header(data: bytes) -> Dataset:
    """Return the attributes of a file without its pixels."""
    return dcmread(io.BytesIO(data), stop_before_pixels=True)


def source_images(count: int = len(PROBABILITIES), **attributes: Any) -> list[Dataset]:
    """Return a series of axial slices 3 mm apart; None removes an attribute."""
    of_series: dict[str, Any] = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "StudyDate": "20240131",
        "StudyTime": "101500",
        "PatientSex": "F",
        "SliceThickness": 3,
        "PixelSpacing": [0.9, 1.1],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    }
    return [
        header(
            dicom(
                np.zeros(SIZE, np.uint16),
                **(of_series | {"InstanceNumber": number, "ImagePositionPatient": [-30.5, -20.25, 3 * number]} | attributes),
            )
        )
        for number in range(1, count + 1)
    ]


def series_answer(
    probabilities: Sequence[float | dict[str, float]] = PROBABILITIES,
    highest: int = 3,
    heatmap: np.ndarray | None = None,
    frames: bool = False,
) -> dict[str, Any]:
    """Return the answer about a series, one file a slice, or one file with all of them.

    Args:
        probabilities: Probability of each slice: of a tumour, or class -> probability.
        highest: Number of slices with heatmap.
        heatmap: Heatmap of all of them, float [h, w], 0-1.
        frames: Whether the slices are the frames of one file.
    """
    columns = [each if isinstance(each, dict) else {NO_TUMOR: 1 - each, TUMOR: each} for each in probabilities]
    of_tumor = [
        1 - each[NO_TUMOR] if isinstance(whole, dict) else whole for each, whole in zip(columns, probabilities, strict=True)
    ]
    slices: list[dict[str, Any]] = [
        {
            **({"file": 0, "frame": index + 1} if frames else {"file": index, "frame": None}),
            "position_mm": 3.0 * index,
            "instance_number": index + 1,
            "label": max(columns[index], key=lambda label: columns[index][label]),
            "probability": probability,
            "confidence": max(columns[index].values()),
            "in_distribution": 0.8,
            "uncertain": index == 3,
            "warning_codes": ["uncertain"] if index == 3 else [],
        }
        for index, probability in enumerate(probabilities)
    ]
    reaching = [index for index, each in enumerate(slices) if each["label"] != NO_TUMOR]
    order = sorted(range(len(slices)), key=lambda index: -of_tumor[index])
    return {
        "model": {"name": "brain-tumor", "version": "7"},
        "threshold": None if isinstance(probabilities[0], dict) else 0.5,
        "explanation": "evidence",
        "notice": NOTICE,
        "order": "position",
        "slices": slices,
        "highest": [explained(index, slices[index]["label"], heatmap) for index in order[:highest]],
        "summary": {
            "slices": len(slices),
            "reaching_threshold": len(reaching),
            "longest_run": 5 if len(reaching) == 6 else len(reaching),
            "longest_run_first": reaching[0] if reaching else None,
            "peak": {"slice": order[0], "probability": of_tumor[order[0]], "position_mm": None},
        },
        "warnings": ["the model was trained on synthetic phantoms: its predictions for patient images are meaningless"],
        "warning_codes": ["synthetic_model"],
    }


def explained(index: int, label: str, heatmap: np.ndarray | None = None) -> dict[str, Any]:
    """Return an entry of `highest`: a phantom with a heatmap."""
    if heatmap is None:
        heatmap = np.zeros((6, 5), np.float32)
        heatmap[2, 3] = 1
    phantom = Image.fromarray(make_phantom(np.random.default_rng(index), lesion=True)[0]).convert("RGB")
    return {
        "slice": index,
        "heatmap": {"shape": list(heatmap.shape), "values": [float(value) for value in heatmap.ravel()], "label": label},
        "overlay_png": base64.b64encode(overlay_png(phantom, heatmap)).decode(),
    }
