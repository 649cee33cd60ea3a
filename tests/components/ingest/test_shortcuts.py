"""Properties that separate the classes without being a sign of disease."""

from pathlib import Path

import numpy as np
import pytest

from components.ingest.reading import LabelledFile, Record, inspect_file
from components.ingest.shortcuts import common_language_effect, find_shortcuts
from tests.components.ingest.conftest import save, texture


def records(tmp_path: Path, label: str, *, count: int, side: int, suffix: str = "png") -> list[Record]:
    files = [save(texture(index, side=side), tmp_path / label / f"{index}.{suffix}") for index in range(count)]
    return [inspect_file(LabelledFile(file, file.name, label), tmp_path)[0] for file in files]


def test_common_language_effect_counts_ties_half() -> None:
    assert common_language_effect(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == pytest.approx(0.875)
    assert common_language_effect(np.array([1.0, 1.0]), np.array([1.0])) == 0.5


def test_differences_in_size_and_format_are_reported(tmp_path: Path) -> None:
    kept = records(tmp_path, "tumor", count=20, side=96, suffix="bmp") + records(tmp_path, "no_tumor", count=20, side=64)
    assert find_shortcuts(kept, ["no_tumor", "tumor"]) == [
        "A tumor image is larger than a random no_tumor image 100% of the time (longest side: median 96 against 64 px).",
        "100% of tumor images have the format BMP, 0% of no_tumor images.",
        "0% of tumor images have the format PNG, 100% of no_tumor images.",
    ]


def test_equal_classes_report_no_shortcut(tmp_path: Path) -> None:
    kept = records(tmp_path, "tumor", count=20, side=64) + records(tmp_path, "no_tumor", count=20, side=64)
    assert find_shortcuts(kept, ["no_tumor", "tumor"]) == []


def test_each_of_many_classes_is_compared_with_all_others(tmp_path: Path) -> None:
    kept = [
        *records(tmp_path, "glioma", count=20, side=64),
        *records(tmp_path, "no_tumor", count=20, side=48),
        *records(tmp_path, "pituitary", count=20, side=64),
    ]
    sentences = find_shortcuts(kept, ["glioma", "no_tumor", "pituitary"])
    assert (
        "A no_tumor image is smaller than a random other image 100% of the time (longest side: median 48 against 64 px)."
        in sentences
    )
