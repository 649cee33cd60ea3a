"""A whole run on DICOM files with identifying values of ten kinds: none of them is in anything that the run writes."""

import io
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from brain_tumor.model_card import MODEL_CARD_PATH
from tests.brain_tumor.patients import PLANTED, write_patients
from tests.pipelines.conftest import run

NAME = "Mustermann-"
# File names stand where the documentation says so.
NAMED = {"manifest.csv", "ingest.html"}


def written(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Generate every file of a folder, and every member of its zips."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            yield path, data
            if zipfile.is_zipfile(io.BytesIO(data)):
                with zipfile.ZipFile(path) as archive:
                    for name in archive.namelist():
                        yield path / name, name.encode() + archive.read(name)


@pytest.mark.long
def test_whole_run_writes_and_prints_nothing_that_identifies(tmp_path: Path) -> None:
    source = write_patients(tmp_path / "scans", NAME)
    broken = source / "tumor" / f"{NAME}broken.dcm"
    broken.write_bytes(next((source / "tumor").iterdir()).read_bytes()[:-3000])
    runs = tmp_path / "runs"
    ended: subprocess.CompletedProcess[str] = run(runs, str(source), "min_auc=0", "min_recall=0", "min_class_images=0")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "promoted: brain-tumor version 1 is the champion" in ended.stdout
    files = {path: data for path, data in written(runs) if "latest" not in path.parts}
    names = {path.name for path in files}
    assert {*NAMED, "images.zip", "report.html", "run.log", "metrics.json", "mlflow.db", Path(MODEL_CARD_PATH).name} <= names
    texts = {"stdout": ended.stdout.encode(), "stderr": ended.stderr.encode()} | {str(path): data for path, data in files.items()}
    for name, data in texts.items():
        assert [value for value in PLANTED if value.encode() in data] == [], name
    assert {Path(name).name for name, data in texts.items() if NAME.encode() in data} == NAMED
    print(f"\n{len(PLANTED)} planted values in none of {len(texts)} files, {sum(map(len, texts.values())):,} bytes")
