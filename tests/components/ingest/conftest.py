"""Small datasets of real image files."""

import csv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.ingest.ingest import IngestSummary, ingest


@dataclass(frozen=True)
class Outputs:
    """The outputs of one ingest."""

    images_zip: Path
    manifest_csv: Path
    report_html: Path

    def run(self, source: Path | str, **options: str) -> IngestSummary:
        return ingest(
            str(source),
            images_zip=self.images_zip,
            manifest_csv=self.manifest_csv,
            report_html=self.report_html,
            **options,
        )

    def rows(self) -> list[dict[str, str]]:
        with self.manifest_csv.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def are_absent(self) -> bool:
        return not self.manifest_csv.parent.exists() or not list(self.manifest_csv.parent.iterdir())


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    folder = tmp_path / "outputs"
    return Outputs(folder / "images.zip", folder / "manifest.csv", folder / "report.html")


def texture(seed: int, *, side: int = 64) -> np.ndarray:
    """Return a different image for each seed, uint8 [side, side, 3]; no two are near copies."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    return np.repeat(grey[..., None], 3, axis=2)


def save(pixels: np.ndarray, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


MakeSet = Callable[..., Path]


@pytest.fixture
def make_set(tmp_path: Path) -> MakeSet:
    """Write a dataset: `make_set("name", yes=3, no=2)` writes that many PNGs into each folder."""

    def make(name: str = "scans", **counts: int) -> Path:
        for place, (folder, count) in enumerate(counts.items()):
            (tmp_path / name / folder).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                save(texture(1000 * place + index), tmp_path / name / folder / f"{index}.png")
        return tmp_path / name

    return make


def zip_folder(folder: Path, archive: Path, *prefixes: str) -> Path:
    """Zip the files of `folder` once under each prefix."""
    with zipfile.ZipFile(archive, "w") as opened:
        for prefix in prefixes:
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    opened.write(file, prefix + file.relative_to(folder).as_posix())
    return archive
