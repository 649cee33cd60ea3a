"""The class of every file, from its folder."""

import os
import re
import shutil
from pathlib import Path

import pytest

from brain_tumor.errors import InputError
from components.ingest.class_folders import find_files
from tests.components.ingest.conftest import MakeSet, save, texture, zip_folder


def labels(folder: Path) -> dict[str, str]:
    return {found.path: found.label for found in find_files(folder).files}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *((name, "tumor") for name in ("yes", "Yes", "TUMOR", "tumour")),
        *((name, "tumor") for name in ("Brain Tumor", "brain_tumour", "BrainTumor", "tumors", "Tumours", "tumorous")),
        *((name, "no_tumor") for name in ("no", "notumor", "No Tumor", "no-tumor", "healthy", "Normal")),
        *((name, "no_tumor") for name in ("no_tumour", "Non-Tumor", "NoTumors", "no brain tumour", "not_tumor", "nontumorous")),
        *((f"{name}{end}", name) for name in ("glioma", "pituitary") for end in ("_tumour", "-Tumors", "Tumour", "s")),
        *((f"{name}{end}", name) for name in ("glioma", "meningioma", "pituitary") for end in ("", "_tumor", "-Tumor", " tumor")),
    ],
)
def test_folder_name_gives_the_class(tmp_path: Path, name: str, label: str) -> None:
    save(texture(0), tmp_path / name / "a.png")
    assert labels(tmp_path) == {f"{name}/a.png": label}


def test_unknown_folder_error_lists_found_and_known_names(make_set: MakeSet) -> None:
    with pytest.raises(
        InputError,
        match=r"unknown class folder with images: 'cat', 'dog'; class folders found: yes; "
        r"known names: yes,.*pituitary_tumor.*; to leave folders out, --set ignore_folders=NAME",
    ):
        find_files(make_set(yes=1, dog=1, cat=1))


def test_images_outside_class_folders_are_rejected(make_set: MakeSet) -> None:
    folder = make_set(yes=1, no=1)
    save(texture(5), folder / "loose.png")
    with pytest.raises(InputError, match="unknown class folder with images: the top folder"):
        find_files(folder)


def test_other_files_outside_class_folders_are_ignored(make_set: MakeSet) -> None:
    folder = make_set(yes=1, no=1)
    (folder / "notes.txt").write_text("from the archive")
    (folder / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    (folder / "lost.png").symlink_to(folder / "nowhere.png")
    with (folder / "all.zip").open("wb") as large:
        large.truncate(300 * 2**20)
    assert find_files(folder).ignored == 4


def test_dicom_outside_class_folders_is_rejected(make_set: MakeSet) -> None:
    folder = make_set(yes=1, no=1)
    (folder / "slice").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(InputError, match="unknown class folder with images: the top folder"):
        find_files(folder)


def test_folder_without_class_folders_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no class folder; class folders found: none"):
        find_files(tmp_path)


def test_tumor_mixed_with_subtypes_is_rejected(make_set: MakeSet) -> None:
    with pytest.raises(InputError, match="got both `tumor` and its subtypes glioma, pituitary"):
        find_files(make_set(yes=1, no=1, glioma=1, pituitary_tumor=1))


def test_two_subtypes_alone_are_rejected(make_set: MakeSet) -> None:
    with pytest.raises(InputError, match="got glioma and meningioma, expected `no_tumor` as one of two classes"):
        find_files(make_set(glioma=1, meningioma=1))


def test_empty_subtype_folder_is_dropped(make_set: MakeSet) -> None:
    found = find_files(make_set(yes=1, no=1, glioma=0))
    assert [item.label for item in found.files] == ["no_tumor", "tumor"]
    assert found.empty == ["glioma"]


def test_split_folders_are_merged_and_stay_in_the_path(tmp_path: Path) -> None:
    for seed, name in enumerate(("Training/glioma/1.png", "Testing/glioma/1.png", "Training/notumor/2.png")):
        save(texture(seed), tmp_path / name)
    assert labels(tmp_path) == {
        "Testing/glioma/1.png": "glioma",
        "Training/glioma/1.png": "glioma",
        "Training/notumor/2.png": "no_tumor",
    }


def test_copy_in_another_split_folder_is_kept(tmp_path: Path) -> None:
    for name in ("Training/yes/1.png", "Training/no/2.png", "Testing/yes/1.png"):
        save(texture("yes" in name), tmp_path / name)
    assert len(find_files(tmp_path).files) == 3


def test_paths_start_at_the_class_folder_and_keep_folders_below_it(tmp_path: Path) -> None:
    for seed, name in enumerate(("a/b/yes/patient 1/1.png", "a/b/yes/1.png", "a/b/no/2.png")):
        save(texture(seed), tmp_path / name)
    assert list(labels(tmp_path)) == ["no/2.png", "yes/1.png", "yes/patient 1/1.png"]


@pytest.mark.parametrize(
    "prefixes",
    [("",), ("scans/",), ("", "brain_tumor_dataset/"), ("data/", "data/more/copy/"), ("deep/er/", "deep/")],
    ids=["plain", "one top folder", "nested copy", "nested below a top folder", "nested the other way"],
)
def test_archive_layout_does_not_change_the_paths(make_set: MakeSet, tmp_path: Path, prefixes: tuple[str, ...]) -> None:
    folder = make_set(yes=2, no=2)
    unpacked = tmp_path / "unpacked"
    shutil.unpack_archive(zip_folder(folder, tmp_path / "set.zip", *prefixes), unpacked)
    found = find_files(unpacked)
    assert {item.path: item.label for item in found.files} == labels(folder)
    assert found.nested_copies == 4 * (len(prefixes) - 1)


def test_nested_copy_with_a_new_file_is_kept(make_set: MakeSet) -> None:
    folder = make_set(yes=2, no=2)
    for name in ("yes", "no"):
        shutil.copytree(folder / name, folder / "more" / name)
    save(texture(9), folder / "more" / "yes" / "new.png")
    found = find_files(folder)
    assert [item.path for item in found.files] == ["no/0.png", "no/1.png", "yes/0.png", "yes/1.png", "yes/new.png"]
    shutil.copy(save(texture(10), folder / "yes" / "other.png"), folder / "no" / "other.png")
    assert len(find_files(folder).files) == 11


def test_hidden_files_are_dropped_and_other_files_counted(make_set: MakeSet) -> None:
    folder = make_set(yes=1, no=1)
    for name in ("yes/._0.png", "yes/.DS_Store", "__MACOSX/yes/0.png", "no/Thumbs.db", "desktop.ini", ".git/yes/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save(texture(1), folder / "x.png").rename(folder / name)
    (folder / "README.txt").write_text("about")
    (folder / "labels").mkdir()
    (folder / "labels" / "labels.csv").write_text("a,b")
    found = find_files(folder)
    assert [item.path for item in found.files] == ["no/0.png", "yes/0.png"]
    assert found.ignored == 2


def write(folder: Path, *names: str) -> Path:
    """Write a different image at each path."""
    for seed, name in enumerate(names):
        save(texture(seed), folder / name)
    return folder


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["yes/patient-0/Normal/1.png", "no/2.png"], "'yes' (tumor) contains 'Normal' (no_tumor), 1 file;"),
        (
            ["no/Jane Doe/glioma/1.png", "no/Jane Doe/glioma/2.png", "yes/3.png"],
            "'no' (no_tumor) contains 'glioma' (glioma), 2 files;",
        ),
        (["healthy/a/b/Brain Tumor/c/1.png", "yes/2.png"], "'healthy' (no_tumor) contains 'Brain Tumor' (tumor), 1 file;"),
        (["glioma/meningioma/tumor/1.png", "no/2.png"], "'glioma' (glioma) contains 'meningioma' (meningioma), 1 file;"),
        (["yes/p/Normal/1.png", "yes/p/Tumor/2.png", "no/3.png"], "'yes' (tumor) contains 'Normal' (no_tumor), 1 file;"),
        (["0/1/a.png", "0/0/b.png", "1/c.png"], "'0' (no_tumor) contains '1' (tumor), 1 file;"),
        (["yes/no/1.png", "no/yes/2.png"], "'yes' (tumor), 1 file; 'yes' (tumor) contains 'no' (no_tumor), 1 file;"),
    ],
)
def test_names_on_one_path_that_contradict_each_other_are_rejected(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(InputError) as raised:
        find_files(write(tmp_path, *names))
    assert str(raised.value).startswith("class folders contradict each other: ")
    assert message in str(raised.value)
    assert not re.search(r"patient|Jane|\.png", str(raised.value))


@pytest.mark.parametrize(
    "names",
    [
        ["Brain Tumor/yes/1.png", "Brain Tumor/no/2.png"],
        ["normal/Training/yes/1.png", "normal/Training/no/2.png", "normal/Testing/no/3.png"],
        ["tumor/glioma/1.png", "tumor/p/pituitary/3.png", "no/2.png"],
        ["yes/glioma/p/1.png", "no/2.png"],
        ["tumor/glioma/1.png", "tumor/meningioma/2.png", "healthy/3.png"],
        ["glioma/tumor/1.png", "no/tumors.png"],
        ["yes/1/2.png", "no/0/1.png", "no/positive/2.png"],
    ],
)
def test_root_and_subtype_are_no_contradiction(tmp_path: Path, names: list[str]) -> None:
    found = labels(write(tmp_path, *names))
    assert len(found) == len(names)
    for path, label in found.items():
        subtype = re.search("glioma|meningioma|pituitary", path)
        assert label == (subtype[0] if subtype else "tumor" if "yes/" in path else "no_tumor")


def test_masks_folder_is_no_root(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'yes' \(tumor\) contains 'no' \(no_tumor\), 1 file"):
        find_files(write(tmp_path, "masks/yes/1.png", "masks/no/2.png", "yes/no/1.png", "yes/masks/no/1.png", "no/1.png"))
    assert labels(write(tmp_path / "sound", "yes/1.png", "no/1.png", "yes/masks/no/1.png", "masks/no/yes/1.png")) == {
        "no/1.png": "no_tumor",
        "yes/1.png": "tumor",
    }


def test_images_beside_the_class_folders_of_a_root_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"with images: 'tumor' \(beside folders of several classes in it\); class folders found: gl"
    ):
        find_files(write(tmp_path, "tumor/glioma/1.png", "tumor/meningioma/2.png", "tumor/3.png"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["positive/1/a.png", "Negative/0/b.png"], {"Negative/0/b.png": "no_tumor", "positive/1/a.png": "tumor"}),
        (["Training/1/a.png", "Training/0/2/b.png"], {"0/2/b.png": "no_tumor", "1/a.png": "tumor"}),
        (["0/2/a.png", "0/1/b.png", "1/1/c.png"], {"0/1/b.png": "no_tumor", "0/2/a.png": "no_tumor", "1/1/c.png": "tumor"}),
    ],
)
def test_positive_and_negative_or_one_and_zero_are_classes_side_by_side(
    tmp_path: Path, names: list[str], expected: dict[str, str]
) -> None:
    assert labels(write(tmp_path, *names)) == expected


@pytest.mark.parametrize(
    ("names", "unknown"),
    [
        (["positive/1.png", "no/2.png"], "'positive'"),
        (["positive/1.png", "negative/3.png", "healthy/2.png"], "'negative', 'positive'"),
        (["positive/1.png", "0/2.png"], "'0', 'positive'"),
        (["1/1.png"], "'1'"),
        (["a/1/1.png", "b/0/2.png"], "'a/1', 'b/0'"),
        (["0/a.png", "1/b.png", "2/c.png"], "'2'"),
    ],
)
def test_ambiguous_names_alone_or_beside_other_names_are_no_classes(tmp_path: Path, names: list[str], unknown: str) -> None:
    with pytest.raises(InputError, match=f"unknown class folder with images: {unknown}; "):
        find_files(write(tmp_path, *names))


def test_ignored_folders_are_left_out_at_any_depth(tmp_path: Path) -> None:
    folder = write(tmp_path, "yes/1.png", "no/2.png", "pred/a.png", "pred/deep/b.png", "yes/Pred/yes/c.png", "Grad-CAM/d.png")
    found = find_files(folder, ignore_folders=["pred", "Grad-CAM", "absent"])
    assert [item.path for item in found.files] == ["no/2.png", "yes/1.png"]
    assert (found.left_out, found.ignored) == ({"pred": 3, "Grad-CAM": 1, "absent": 0}, 0)


def test_folders_of_other_systems_are_left_out_at_any_depth(make_set: MakeSet) -> None:
    folder = make_set(yes=1, no=1)
    names = ["@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "lost+found", "__MACOSX"]
    for seed, name in enumerate(names):
        for parent in ("", "yes/", "no/patient/"):
            save(texture(seed), folder / parent / name / "no" / "a.png")
            (folder / parent / name).chmod(0)
    for name in ("Icon\r", "ehthumbs.db", "EHThumbs_vista.db"):
        for parent in ("", "yes", "no/patient"):
            save(texture(3), folder / "x.png").rename(folder / parent / name)
            (folder / parent / name).chmod(0)
    found = find_files(folder)
    assert [item.path for item in found.files] == ["no/0.png", "yes/0.png"]
    assert found.ignored == 0


def test_unreadable_folder_is_named_below_the_source(make_set: MakeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_set(yes=1, no=1)
    (folder / "yes" / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:  # root, who may run the tests, can read every folder
        if str(path).endswith(("locked", "@eaDir")):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"^source: cannot read its folder 'yes/locked': Permission denied$"):
        find_files(folder)
    (folder / "yes" / "locked").rename(folder / "yes" / "@eaDir")
    assert len(find_files(folder).files) == 2


def test_links_to_folders_are_followed_once(make_set: MakeSet, tmp_path: Path) -> None:
    folder = make_set(yes=1, no=1)
    (tmp_path / "linked").mkdir()
    for name in ("yes", "no"):
        (tmp_path / "linked" / name).symlink_to(folder / name)
    (folder / "yes" / "round").symlink_to(folder)
    assert list(labels(tmp_path / "linked")) == ["no/0.png", "yes/0.png"]


def masks(folder: Path) -> dict[str, str | None]:
    files = find_files(folder).files
    return {file.path: file.mask.relative_to(folder).as_posix() if file.mask else None for file in files}


@pytest.mark.parametrize(
    "mask",
    [
        "masks/a.jpg",
        "masks/yes/a.jpg",
        "Masks/yes/a.jpg",
        "masks/a.png",
        "masks/yes/a.png",
        "masks/a_mask.png",
        "masks/yes/a_mask.tif",
    ],
)
def test_mask_is_found_by_the_name_of_its_image(make_set: MakeSet, mask: str) -> None:
    folder = make_set(yes=1, no=1)
    save(texture(1), folder / "yes" / "a.jpg")
    save(texture(2), folder / mask)
    assert masks(folder) == {"no/0.png": None, "yes/0.png": None, "yes/a.jpg": mask}
    assert (find_files(folder).unmatched_masks, find_files(folder).ignored) == (0, 0)


def test_mask_of_the_class_folder_and_of_the_same_extension_wins(make_set: MakeSet) -> None:
    folder = make_set(yes=1, no=1)
    for name in ("masks/0.png", "masks/yes/0.png", "masks/yes/0.jpg", "masks/yes/0_mask.png"):
        save(texture(2), folder / name)
    assert masks(folder) == {"no/0.png": "masks/0.png", "yes/0.png": "masks/yes/0.png"}
    assert find_files(folder).unmatched_masks == 2


def test_mask_of_an_image_below_its_class_folder_is_found(make_set: MakeSet) -> None:
    folder = make_set(yes=1, no=1)
    for name in ("yes/patient 1/a.png", "masks/yes/patient 1/a.png", "yes/patient 2/b.png", "masks/b.png"):
        save(texture(len(name)), folder / name)
    found = masks(folder)
    assert found["yes/patient 1/a.png"] == "masks/yes/patient 1/a.png"
    assert found["yes/patient 2/b.png"] == "masks/b.png"


def test_each_split_folder_has_its_own_masks(tmp_path: Path) -> None:
    for seed, name in enumerate(("Training/yes/1.png", "Testing/yes/1.png", "Training/no/2.png", "Training/masks/yes/1.png")):
        save(texture(seed), tmp_path / name)
    assert masks(tmp_path) == {
        "Testing/yes/1.png": None,
        "Training/no/2.png": None,
        "Training/yes/1.png": "Training/masks/yes/1.png",
    }


@pytest.mark.parametrize("place", ["masks", "yes/masks", "more/masks/yes", "masks/tumor/deeper", "Masks/no"])
def test_masks_are_never_taken_for_images(make_set: MakeSet, place: str) -> None:
    folder = make_set(yes=1, no=1)
    save(texture(7), folder / place / "other.png")
    (folder / place / "_mask.png").touch()
    found = find_files(folder)
    assert [item.path for item in found.files] == ["no/0.png", "yes/0.png"]
    assert (found.ignored, found.empty, found.unmatched_masks) == (0, [], 2)


def test_archive_layout_does_not_change_the_masks(make_set: MakeSet, tmp_path: Path) -> None:
    folder = make_set(yes=2, no=1)
    save(texture(9), folder / "masks" / "yes" / "1.png")
    unpacked = tmp_path / "unpacked"
    shutil.unpack_archive(zip_folder(folder, tmp_path / "set.zip", "", "brain_tumor_dataset/"), unpacked)
    found = find_files(unpacked)
    assert (found.nested_copies, found.unmatched_masks) == (3, 0)
    assert sum(item.mask is not None for item in found.files) == 1
