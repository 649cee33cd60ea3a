"""From a dataset to images.zip, manifest and report."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brain_tumor.errors import InputError
from components import progress
from components.dataset import ImagesZip
from components.ingest import ingest as module
from components.preprocess.preprocess import read_manifest
from tests.brain_tumor.test_frames import several
from tests.brain_tumor.test_images import gif_of_code_size, huge_png
from tests.components.ingest.conftest import MakeSet, Outputs, save, texture, zip_folder


def test_kept_images_and_one_manifest_row_per_file_are_written(make_set: MakeSet, outputs: Outputs) -> None:
    folder = make_set(yes=3, no=2)
    data = (folder / "no" / "0.png").read_bytes()
    summary = outputs.run(folder)
    assert (summary.files, summary.kept, summary.groups, summary.synthetic) == (5, 5, 5, False)
    assert summary.counts == {"no_tumor": 2, "tumor": 3}
    rows = outputs.rows()
    assert [row["path"] for row in rows] == ["no/0.png", "no/1.png", "yes/0.png", "yes/1.png", "yes/2.png"]
    sha256 = hashlib.sha256(data).hexdigest()
    expected = {
        "label": "no_tumor",
        "sha256": sha256,
        "group": "0",
        "width": "64",
        "height": "64",
        "mode": "RGB",
        "format": "PNG",
    }
    assert rows[0] == {"path": "no/0.png", "verdict": "kept", **expected}
    assert [row["group"] for row in rows] == ["0", "1", "2", "3", "4"]
    with zipfile.ZipFile(outputs.images_zip) as images:
        assert images.read(f"images/{sha256}.png") == data
        assert {member.compress_type for member in images.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(images.read("dataset.json")) == {
            "source": "scans",
            "synthetic": False,
            "classes": ["no_tumor", "tumor"],
            "counts": {"no_tumor": 2, "tumor": 3},
            "split_by": "near_copies",
        }


def test_two_runs_give_the_same_bytes(make_set: MakeSet, outputs: Outputs, tmp_path: Path) -> None:
    folder = make_set(yes=3, no=3)
    again = Outputs(tmp_path / "again.zip", tmp_path / "again.csv", tmp_path / "again.html")
    outputs.run(folder)
    again.run(folder)
    for first, second in zip(vars(outputs).values(), vars(again).values(), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_image_the_graph_cannot_read_is_stored_as_png(make_set: MakeSet, outputs: Outputs) -> None:
    folder = make_set(yes=2, no=2)
    scan = save(texture(77), folder / "yes" / "scan.tif")
    (folder / "yes" / "scan.gif").write_bytes(gif_of_code_size(11))
    outputs.run(folder)
    row = next(row for row in outputs.rows() if row["path"] == "yes/scan.tif")
    assert (row["format"], row["sha256"]) == ("TIFF", hashlib.sha256(scan.read_bytes()).hexdigest())
    gif = hashlib.sha256(gif_of_code_size(11)).hexdigest()
    with zipfile.ZipFile(outputs.images_zip) as images, Image.open(io.BytesIO(images.read(f"images/{row['sha256']}.png"))) as png:
        np.testing.assert_array_equal(np.asarray(png.convert("RGB")), texture(77))
        assert images.read(f"images/{gif}.png").startswith(b"\x89PNG")


def test_unreadable_files_are_quarantined_with_their_reason(make_set: MakeSet, outputs: Outputs) -> None:
    folder = make_set(yes=2, no=2)
    (folder / "yes" / "empty.jpg").touch()
    (folder / "yes" / "words.jpg").write_text("no image")
    whole = save(texture(8, side=200), folder / "no" / "whole.jpg").read_bytes()
    (folder / "yes" / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "no" / "huge.png").write_bytes(huge_png())
    (folder / "no" / "stack.tif").write_bytes(several("TIFF"))
    (folder / "no" / "animation.webp").write_bytes(several("WEBP"))
    save(np.dstack([np.zeros((64, 64, 3), np.uint8), texture(9)[..., 0]]), folder / "no" / "alpha.png")
    (folder / "no" / "gone.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "no" / "pipe.png")
    summary = outputs.run(folder)
    bad = {row["path"]: row for row in outputs.rows() if row["verdict"] != "kept"}
    assert {path: row["verdict"] for path, row in bad.items()} == {
        "no/alpha.png": "quarantined: invisible",
        "no/animation.webp": "quarantined: several_images",
        "no/gone.png": "quarantined: unreadable",
        "no/huge.png": "quarantined: too_large",
        "no/pipe.png": "quarantined: unreadable",
        "no/stack.tif": "quarantined: several_images",
        "yes/broken.jpg": "quarantined: corrupt",
        "yes/empty.jpg": "quarantined: not_an_image",
        "yes/words.jpg": "quarantined: not_an_image",
    }
    assert {(row["group"], row["width"], row["mode"], row["format"]) for row in bad.values()} == {("", "", "", "")}
    assert summary.statuses["quarantined: not_an_image"] == 2
    page = outputs.report_html.read_text()
    assert "the file is empty (0 bytes)" in page
    assert "the TIFF file holds 3 images, expected one" in page
    assert "in its alpha channel alone" in page
    assert "yes/broken.jpg" in page


def test_exact_copies_keep_the_first_and_label_conflicts_keep_none(make_set: MakeSet, outputs: Outputs) -> None:
    folder = make_set(yes=2, no=2)
    save(texture(0), folder / "yes" / "copy.bmp")
    for name in ("yes/x.png", "yes/y.png", "no/z.gif"):
        save(texture(500), folder / name)
    summary = outputs.run(folder)
    statuses = {row["path"]: row["verdict"] for row in outputs.rows()}
    assert statuses["yes/0.png"] == "kept"
    assert statuses["yes/copy.bmp"] == "exact_copy"
    assert {statuses[name] for name in ("yes/x.png", "yes/y.png", "no/z.gif")} == {"label_conflict"}
    assert summary.statuses == {"kept": 4, "label_conflict": 3, "exact_copy": 1}
    assert "Exact copies with different labels" in outputs.report_html.read_text()


def test_near_copies_share_a_group_and_cross_label_pairs_are_reported(make_set: MakeSet, outputs: Outputs) -> None:
    folder = make_set(yes=2, no=2)
    brighter = np.clip(texture(0).astype(int) + 5, 0, 255).astype(np.uint8)
    save(np.ascontiguousarray(np.rot90(brighter)), folder / "yes" / "turned.png")
    save(np.ascontiguousarray(texture(1000)[:, ::-1] // 2 + 20), folder / "yes" / "mirrored.png")
    summary = outputs.run(folder)
    groups = {row["path"]: row["group"] for row in outputs.rows()}
    assert groups == {
        "no/0.png": "0",
        "no/1.png": "1",
        "yes/0.png": "2",
        "yes/1.png": "3",
        "yes/mirrored.png": "0",
        "yes/turned.png": "2",
    }
    assert (summary.near_pairs, summary.cross_label_pairs, summary.groups) == (2, 1, 4)
    page = outputs.report_html.read_text()
    assert "Near copies with different labels" in page
    assert page.count("yes/mirrored.png") == 1


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"yes": 3}, "got 1, expected at least 2; 3 of 3 files can be used, tumor 3"),
        ({"yes": 3, "no": 0}, "tumor 3, empty class folder no"),
        ({"yes": 1}, "got 1, expected at least 2; 1 of 1 files can be used, tumor 1"),
        ({"yes": 0, "no": 0}, "got 0, expected at least 2; 0 of 0 files"),
    ],
    ids=["one class", "an empty class", "a single image", "no image"],
)
def test_fewer_than_two_classes_are_rejected(make_set: MakeSet, outputs: Outputs, counts: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        outputs.run(make_set(**counts))
    assert outputs.are_absent()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_every_member_of_an_archive_has_a_row(outputs: Outputs, tmp_path: Path, kind: str) -> None:
    long_names = ["yes/" + "x" * 300 + ".png", "no/" + "y" * 256 + "/1.png", "yes/" + "z" * 252 + ".png"]
    names = ["no/1.png", "no/2.png", "yes/1.png", "yes/1.png", "yes/2.png", *long_names, long_names[2]]
    members = [(name, png(seed)) for seed, name in enumerate(names)]
    archive = tmp_path / f"set.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as opened:
            for name, data in members:
                opened.writestr(name, data)
    else:
        with tarfile.open(archive, "w") as opened_tar:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                opened_tar.addfile(info, io.BytesIO(data))
    assert outputs.run(archive).files == len(names)
    verdicts = [(row["path"], row["verdict"]) for row in outputs.rows()]
    unwritten = [*long_names, long_names[2]]
    kept = ["no/1.png", "no/2.png", "yes/1 (2).png", "yes/1.png", "yes/2.png"]
    expected = [*((name, "kept") for name in kept), *((name, "quarantined: unreadable") for name in unwritten)]
    assert verdicts == sorted(expected)
    assert "the file cannot be read: File name too long" in outputs.report_html.read_text()


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(texture(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def test_ignored_folders_are_in_the_report(make_set: MakeSet, outputs: Outputs) -> None:
    folder = make_set(yes=2, no=2, pred=3, overlays=1)
    with pytest.raises(InputError, match=r"'overlays', 'pred'; .*--set ignore_folders="):
        outputs.run(folder)
    with pytest.raises(InputError, match=r"ignore_folders: got 'a/pred', expected names of folders"):
        outputs.run(folder, ignore_folders="overlays, a/pred")
    assert outputs.are_absent()
    assert outputs.run(folder, ignore_folders=" Pred,overlays,").files == 4
    page = outputs.report_html.read_text()
    assert "3 files in folders named Pred were left out by ignore_folders." in page
    assert "1 file in folders named overlays was left out by ignore_folders." in page


def test_class_without_a_readable_file_is_rejected(make_set: MakeSet, outputs: Outputs) -> None:
    folder = make_set(yes=2, no=0)
    (folder / "no" / "a.jpg").write_text("words")
    with pytest.raises(
        InputError, match=r"got 1, expected at least 2; 2 of 3 files can be used, tumor 2, quarantined: not_an_image 1"
    ):
        outputs.run(folder)


def test_failure_in_the_last_output_leaves_no_output(
    make_set: MakeSet, outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(module, "write_report", fail)
    with pytest.raises(OSError, match="disk full"):
        outputs.run(make_set(yes=2, no=2))
    assert outputs.are_absent()


def test_unusual_file_names_are_in_the_manifest_and_not_in_the_log(
    make_set: MakeSet, outputs: Outputs, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_set(yes=2, no=2)
    (folder / "yes" / "0.png").rename(folder / "yes" / 'Müller, "Jan".png')
    (folder / "yes" / "1.png").rename(os.fsdecode(os.fsencode(folder / "yes") + b"/caf\xe9.png"))
    outputs.run(folder)
    assert [row["path"] for row in outputs.rows()][2:] == ['yes/Müller, "Jan".png', "yes/caf\\udce9.png"]
    printed = capsys.readouterr().out
    assert "read files 4 of 4 (100%)" in printed
    assert "kept 4 of 4 files in 4 groups" in printed
    assert not re.search(r"png|Müller|scans", printed)


@pytest.mark.parametrize("zipped", [False, True])
def test_manifest_has_one_row_per_file_whatever_its_name(
    make_set: MakeSet, outputs: Outputs, tmp_path: Path, zipped: bool
) -> None:
    folder = make_set(yes=0, no=2)
    names = [
        "a\rb.png",
        "a\r\nb.png",
        "\r",
        "a\nb.png",
        'a"\r",b.png',
        "a\x0b\x0c\x1c\x1e.png",
        "a\x85\u2028\u2029.png",
        "=1+1",
        "\ufeff;.png",
    ]
    for seed, name in enumerate(names):
        save(texture(seed), folder / "x.png").rename(folder / "yes" / name)
    summary = outputs.run(zip_folder(folder, tmp_path / "set.zip", "") if zipped else folder)
    assert (summary.files, summary.kept) == (len(names) + 2, len(names) + 2)
    assert [row["path"] for row in outputs.rows()] == sorted(["no/0.png", "no/1.png", *(f"yes/{name}" for name in names)])
    assert {row["verdict"] for row in outputs.rows()} == {"kept"}
    assert len(read_manifest(outputs.manifest_csv)) == len(names) + 2


def test_progress_is_printed_at_intervals(
    make_set: MakeSet, outputs: Outputs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    outputs.run(make_set(yes=2, no=2))
    assert re.findall(r"read files (\d) of 4", capsys.readouterr().out) == ["1", "2", "3", "4"]


def test_phantoms_have_masks_and_are_marked_synthetic(outputs: Outputs) -> None:
    summary = outputs.run("synthetic://?n=12&seed=3")
    assert summary.synthetic
    assert summary.counts == {"no_tumor": 6, "tumor": 6}
    with zipfile.ZipFile(outputs.images_zip) as images:
        dataset = json.loads(images.read("dataset.json"))
        masks = sorted(name for name in images.namelist() if name.startswith("masks/"))
        sizes = [Image.open(io.BytesIO(images.read(name))).size for name in masks]
        same = [Image.open(io.BytesIO(images.read(name.replace("masks", "images")))).size for name in masks]
    assert (dataset["source"], dataset["synthetic"]) == ("synthetic://?n=12&seed=3", True)
    assert masks == sorted(f"masks/{row['sha256']}.png" for row in outputs.rows() if row["label"] == "tumor")
    assert sizes == same
    assert "They prove nothing about accuracy" in outputs.report_html.read_text()


def blob(side: int = 64, *, level: int = 255) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    mask[10:20, 30:50] = level
    return mask


@pytest.mark.parametrize("zipped", [False, True])
def test_masks_travel_in_images_zip(make_set: MakeSet, outputs: Outputs, tmp_path: Path, zipped: bool) -> None:
    folder = make_set(yes=4, no=2)
    save(blob(), folder / "masks" / "yes" / "0.png")
    save(blob(level=1), folder / "masks" / "yes" / "1.png")
    save(np.dstack([blob()] * 3 + [np.full((64, 64), 255, np.uint8)]), folder / "masks" / "2_mask.png")
    summary = outputs.run(zip_folder(folder, tmp_path / "set.zip", "") if zipped else folder)
    assert (summary.files, summary.kept) == (6, 6)
    sha256 = {row["path"]: row["sha256"] for row in outputs.rows()}
    with ImagesZip(outputs.images_zip) as images:
        for name in ("yes/0.png", "yes/1.png", "yes/2.png"):
            np.testing.assert_array_equal(images.read_mask(sha256[name]), blob() > 0)
        assert images.read_mask(sha256["yes/3.png"]) is None
        assert images.read_mask(sha256["no/0.png"]) is None
    page = outputs.report_html.read_text()
    assert "3 of 6 kept images have a lesion mask" in page
    assert "not taken" not in page


def test_unusable_masks_are_counted_with_their_reason(make_set: MakeSet, outputs: Outputs) -> None:
    folder = make_set(yes=7, no=2)
    save(blob(), folder / "masks" / "yes" / "0.png")
    save(blob(side=65), folder / "masks" / "yes" / "1.png")
    (folder / "masks" / "yes" / "2.png").write_text("no image")
    (folder / "masks" / "yes" / "3.png").write_bytes((folder / "masks" / "yes" / "0.png").read_bytes()[:60])
    save(np.zeros((64, 64), np.uint8), folder / "masks" / "yes" / "4.png")
    (folder / "masks" / "yes" / "5.png").symlink_to(folder / "nowhere.png")
    (folder / "masks" / "yes" / "6.tif").write_bytes(several("TIFF"))
    for name in ("1.png", "unknown.png"):
        save(blob(), folder / "masks" / name)
    save(texture(1001), folder / "no" / "1.png")
    outputs.run(folder)
    with zipfile.ZipFile(outputs.images_zip) as images:
        assert sum(name.startswith("masks/") for name in images.namelist()) == 2
    page = outputs.report_html.read_text()
    assert "2 of 9 kept images have a lesion mask" in page
    for reason in (
        "its size is not the size of the image",
        "it cannot be read: not_an_image",
        "it cannot be read: corrupt",
        "it cannot be read: several_images",
        "it is empty",
        "it cannot be read: unreadable",
        "no image has this name",
    ):
        assert re.search(rf'<td class="number">1</td><td>{reason}</td>', page)


def test_mask_that_fits_two_images_is_not_taken(make_set: MakeSet, outputs: Outputs) -> None:
    folder = make_set(yes=2, no=2)
    save(blob(), folder / "masks" / "0.png")
    outputs.run(folder)
    with zipfile.ZipFile(outputs.images_zip) as images:
        assert not any(name.startswith("masks/") for name in images.namelist())
    page = outputs.report_html.read_text()
    assert '<td class="number">2</td><td>several images have this name: move the mask to masks/&lt;class folder&gt;</td>' in page


def test_report_without_masks_has_no_section_for_them(make_set: MakeSet, outputs: Outputs) -> None:
    outputs.run(make_set(yes=2, no=2))
    assert "Lesion masks" not in outputs.report_html.read_text()


def test_report_names_the_largest_group_and_warns_above_a_twentieth(make_set: MakeSet, outputs: Outputs) -> None:
    folder = make_set(yes=20, no=20)
    save(texture(0) // 2 + 40, folder / "yes" / "darker.png")
    outputs.run(folder)
    page = outputs.report_html.read_text()
    assert "The largest group has 2 of 41 images (4.9%)" in page
    assert "a group is never split" not in page
    save(texture(0) // 3 + 40, folder / "yes" / "darkest.png")
    outputs.run(folder)
    page = outputs.report_html.read_text()
    assert "The largest group has 3 of 42 images (7.1%)" in page
    assert "One group has more than 5% of the images" in page
    sheet = page[page.index("One group has more than") : page.index("<h2>Quarantined")]
    assert "3 images, 7.1% <span" in sheet
    assert sheet.count("<img") == 3


def test_report_is_one_small_self_contained_file(make_set: MakeSet, outputs: Outputs) -> None:
    outputs.run(make_set(yes=3, no=3))
    page = outputs.report_html.read_text()
    assert len(page) < 2_000_000
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", page)


def test_import_is_fast_and_without_tensorflow() -> None:
    code = """
import sys, time, components.ingest.ingest
late = ("tensorflow", "matplotlib", "scipy", "fsspec", "kagglehub")
print([name for name in late if name in sys.modules], time.process_time() < 2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "True"]


@pytest.mark.realdata
def test_navoneel_folder_and_archive_give_the_known_counts(realdata: Path, outputs: Outputs, tmp_path: Path) -> None:
    summary = outputs.run(realdata / "navoneel")
    assert (summary.files, summary.kept, summary.statuses["exact_copy"]) == (253, 228, 25)
    assert summary.counts == {"no_tumor": 87, "tumor": 141}
    assert (summary.groups, summary.cross_label_pairs) == (199, 0)
    page = outputs.report_html.read_text()
    assert "A tumor image is larger than a random no_tumor image" in page
    archive = zip_folder(realdata / "navoneel", tmp_path / "archive.zip", "", "brain_tumor_dataset/")
    zipped = Outputs(tmp_path / "zipped.zip", tmp_path / "zipped.csv", tmp_path / "zipped.html")
    assert zipped.run(archive) == summary
    assert zipped.manifest_csv.read_bytes() == outputs.manifest_csv.read_bytes()


@pytest.mark.realdata
def test_sartaj_has_four_classes_and_cross_label_pairs(realdata: Path, outputs: Outputs) -> None:
    summary = outputs.run(realdata / "sartaj4-subset")
    assert summary.classes == ["glioma", "meningioma", "no_tumor", "pituitary"]
    assert summary.files == 800
    assert summary.cross_label_pairs > 0
