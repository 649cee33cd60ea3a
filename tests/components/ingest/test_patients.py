"""DICOM in class folders: the split is by patient, and nothing identifying is written."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from brain_tumor.errors import InputError
from brain_tumor.images import read_image
from components.dataset import ImagesZip
from components.ingest.reading import KEPT
from components.preprocess.preprocess import preprocess, read_manifest, split_by_group
from tests.brain_tumor.dicoms import dicom
from tests.brain_tumor.patients import PATIENTS, PLANTED, SLICES, patient_levels, write_patients
from tests.components.ingest.conftest import MakeSet, Outputs, save, texture


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return class folders with the slices of all patients."""
    return write_patients(tmp_path_factory.mktemp("hospital") / "scans")


def test_no_patient_is_in_two_splits(hospital: Path, outputs: Outputs, tmp_path: Path) -> None:
    summary = outputs.run(hospital)
    assert (summary.files, summary.kept) == (240, 240)
    assert PATIENTS - 2 <= summary.groups <= PATIENTS  # two phantoms may be near copies by chance
    rows = outputs.rows()
    patient_of = {row["sha256"]: int(Path(row["path"]).stem) // SLICES for row in rows}
    assert len({(patient_of[row["sha256"]], row["group"]) for row in rows}) == PATIENTS
    assert {(row["format"], row["mode"]) for row in rows} == {("DICOM", "MONOCHROME2")}
    for seed in range(5):
        samples = split_by_group(read_manifest(outputs.manifest_csv), test_share=0.2, validation_share=0.15, seed=seed)
        splits = {(patient_of[sample.sha256], sample.split) for sample in samples}
        assert len(splits) == PATIENTS
        assert {split for _, split in splits} == {"train", "validation", "test"}
    assert "<b>The split is by patient:</b>" in outputs.report_html.read_text()
    with ImagesZip(outputs.images_zip) as images:
        assert images.dataset["split_by"] == "patient"
        for row in rows:
            shown = read_image((hospital / row["path"]).read_bytes())
            np.testing.assert_array_equal(read_image(images.read_bytes(row["sha256"])).pixels, shown.pixels)


def test_nothing_identifying_is_written_or_printed(hospital: Path, outputs: Outputs, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from components.ingest.ingest import ingest; "
        "ingest(sys.argv[1], images_zip=Path(sys.argv[2]), manifest_csv=Path(sys.argv[3]), report_html=Path(sys.argv[4]))"
    )
    broken = hospital / "tumor" / "broken.dcm"
    broken.write_bytes((hospital / "tumor" / "0000.dcm").read_bytes()[:-3000])
    try:
        command = [sys.executable, "-c", code, str(hospital), *map(str, vars(outputs).values())]
        run = subprocess.run(command, capture_output=True, check=True)
    finally:
        broken.unlink()
    texts = {"stdout": run.stdout, "stderr": run.stderr}
    texts |= {path.name: path.read_bytes() for path in (outputs.manifest_csv, outputs.report_html, outputs.images_zip)}
    with zipfile.ZipFile(outputs.images_zip) as images:
        texts |= {name: images.read(name) for name in images.namelist()}
    for name, text in texts.items():
        assert not [value for value in PLANTED if value.encode() in text], name
    assert b"quarantined: corrupt" in texts["manifest.csv"]


def named_set(make_set: MakeSet) -> Path:
    """Return 24 unlike images whose names state 12 patients of two images each."""
    folder = make_set(yes=12, no=12)
    for label, first in (("yes", 0), ("no", 6)):
        for number in range(12):
            file = folder / label / f"{number}.png"
            file.rename(file.with_name(f"p{first + number // 2:02}_{number}.png"))
    return folder


def test_patient_is_found_in_the_name_of_a_file(make_set: MakeSet, outputs: Outputs, tmp_path: Path) -> None:
    folder = named_set(make_set)
    assert outputs.run(folder).groups == 24
    assert "The split is only by near copies" in outputs.report_html.read_text()
    summary = outputs.run(folder, patient_pattern=r"(?P<patient>p\d+)_")
    assert (summary.kept, summary.groups) == (24, 12)
    assert len({(row["path"].split("/")[1].split("_")[0], row["group"]) for row in outputs.rows()}) == 12
    assert "p03" not in outputs.images_zip.read_bytes().decode("latin-1")
    preprocess(outputs.images_zip, outputs.manifest_csv, shards=tmp_path / "shards", splits_csv=tmp_path / "splits.csv")


def test_names_that_do_not_match_are_counted_and_not_shown(make_set: MakeSet, outputs: Outputs) -> None:
    folder = named_set(make_set)
    save(texture(99), folder / "yes" / "Mustermann.png")
    (folder / "yes" / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="patient_pattern: got 1 of 25 file names without a match") as rejected:
        outputs.run(folder, patient_pattern=r"(?P<patient>p\d+)_")
    assert "Mustermann" not in str(rejected.value)
    assert outputs.are_absent()


@pytest.mark.parametrize(("pattern", "message"), [("p(", "expected a regular expression"), (r"p\d+", r"expected a group")])
def test_pattern_of_no_use_is_rejected_first(pattern: str, message: str, outputs: Outputs) -> None:
    with pytest.raises(InputError, match=f"patient_pattern: got .*{message}"):
        outputs.run("/no/such/folder", patient_pattern=pattern)


def test_pattern_is_not_asked_of_dicom(make_set: MakeSet, outputs: Outputs) -> None:
    folder = named_set(make_set)
    for number in range(3):
        (folder / "no" / f"{number}.dcm").write_bytes(dicom(patient_levels(99)[number], PatientID=None, StudyInstanceUID="1.2.3"))
    summary = outputs.run(folder, patient_pattern=r"(?P<patient>p\d+)_")
    assert (summary.kept, summary.groups) == (27, 13)
    assert "The split is by patient for some images" in outputs.report_html.read_text()


def test_dropped_copy_connects_the_patients_of_both_files(make_set: MakeSet, outputs: Outputs) -> None:
    folder = make_set(yes=2, no=2)
    levels = patient_levels(1)
    for name, patient, number in (("a", "1", 0), ("b", "1", 1), ("c", "2", 2), ("d", "2", 1)):
        (folder / "no" / f"{name}.dcm").write_bytes(dicom(levels[number], PatientID=patient))
    outputs.run(folder)
    rows = {row["path"]: row for row in outputs.rows()}
    assert rows["no/d.dcm"]["verdict"] == "exact_copy"
    kept = [rows[f"no/{name}.dcm"] for name in "abc"]
    assert {row["verdict"] for row in kept} == {KEPT}
    assert len({row["group"] for row in kept}) == 1
