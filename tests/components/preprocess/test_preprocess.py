"""Split by group and training shards."""

import csv
import hashlib
import json
import zipfile
from collections import defaultdict
from pathlib import Path

import pytest

from brain_tumor.errors import InputError
from components.preprocess.preprocess import ManifestRow, preprocess, read_manifest, split_by_group
from tests.conftest import DataSet


def manifest_rows(groups: dict[str, list[int]]) -> list[ManifestRow]:
    """Return rows for each label and its group sizes; every sha256 is real and unique."""
    rows, group = [], 0
    for label, sizes in groups.items():
        for size in sizes:
            rows += [ManifestRow(hashlib.sha256(f"{group} {copy}".encode()).hexdigest(), group, label) for copy in range(size)]
            group += 1
    return rows


def splits(rows: list[ManifestRow], seed: int = 0) -> dict[str, str]:
    return {sample.sha256: sample.split for sample in split_by_group(rows, test_share=0.2, validation_share=0.15, seed=seed)}


def fractions(rows: list[ManifestRow], split_of: dict[str, str], label: str) -> dict[str, float]:
    of_label = [split_of[row.sha256] for row in rows if row.label == label]
    return {split: of_label.count(split) / len(of_label) for split in ("train", "validation", "test")}


def test_labels_keep_their_fractions_and_groups_stay_whole() -> None:
    rows = manifest_rows({"no_tumor": [1] * 60 + [2] * 10 + [5] * 4, "tumor": [1] * 150 + [3] * 10})
    split_of = splits(rows)

    for label in ("no_tumor", "tumor"):
        assert fractions(rows, split_of, label) == pytest.approx({"train": 0.68, "validation": 0.12, "test": 0.2}, abs=0.01)
    splits_of_group = defaultdict(set)
    for row in rows:
        splits_of_group[row.group].add(split_of[row.sha256])
    assert {len(splits) for splits in splits_of_group.values()} == {1}


def test_split_depends_only_on_images_and_seed() -> None:
    rows = manifest_rows({"no_tumor": [1, 2, 3] * 10, "tumor": [1] * 40})
    split_of = splits(rows)
    assert splits(rows[::-1]) == split_of
    assert splits(rows, seed=1) != split_of


def test_group_with_two_labels_stays_together() -> None:
    rows = manifest_rows({"glioma": [1] * 20, "meningioma": [1] * 20})
    twin = ManifestRow(hashlib.sha256(b"twin").hexdigest(), rows[0].group, "meningioma")
    split_of = splits([*rows, twin])
    assert split_of[twin.sha256] == split_of[rows[0].sha256]


@pytest.mark.parametrize("sizes", [[1, 1, 1], [1, 1, 100], [40, 50, 60], [1, 2, 3, 50]])
def test_few_or_large_groups_are_in_every_split(sizes: list[int]) -> None:
    rows = manifest_rows({"no_tumor": sizes, "tumor": [1] * 20})
    split_of = splits(rows)
    assert {split_of[row.sha256] for row in rows if row.label == "no_tumor"} == {"train", "validation", "test"}


def test_label_with_two_groups_is_rejected() -> None:
    with pytest.raises(
        InputError,
        match=r"class no_tumor: got 7 images in 2 groups of patients or near copies, expected at least one group of its own",
    ):
        splits(manifest_rows({"no_tumor": [3, 4], "tumor": [1] * 20}))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_fraction_out_of_range_is_rejected_and_nothing_written(phantoms: DataSet, tmp_path: Path, share: float) -> None:
    with pytest.raises(InputError, match=f"test_share: got {share}, expected a fraction between 0 and 1"):
        preprocess(
            phantoms.images_zip, phantoms.manifest_csv, shards=tmp_path / "s", splits_csv=tmp_path / "s.csv", test_share=share
        )
    assert list(tmp_path.iterdir()) == []


def test_shards_contain_the_unchanged_bytes_of_their_split(phantoms: DataSet) -> None:
    import tensorflow as tf

    with phantoms.splits_csv.open() as table:
        rows = list(csv.DictReader(table))
    description = json.loads((phantoms.shards / "dataset.json").read_text())
    with zipfile.ZipFile(phantoms.images_zip) as images:
        stored = {Path(name).stem: images.read(name) for name in images.namelist() if name.startswith("images/")}
    for split in ("train", "validation"):
        found = {}
        for record in tf.data.TFRecordDataset(sorted(map(str, phantoms.shards.glob(f"{split}-*")))).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            label = description["classes"][feature["label"].int64_list.value[0]]
            found[feature["sha256"].bytes_list.value[0].decode()] = (label, feature["image_bytes"].bytes_list.value[0])
        assert found == {row["sha256"]: (row["label"], stored[row["sha256"]]) for row in rows if row["split"] == split}
    assert description["counts"]["test"] == {
        label: sum(row["split"] == "test" and row["label"] == label for row in rows) for label in ("no_tumor", "tumor")
    }


def test_fingerprints_hash_the_sorted_lines(phantoms: DataSet) -> None:
    def hashed(lines: list[str]) -> str:
        return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()

    description = json.loads((phantoms.shards / "dataset.json").read_text())
    rows = [line.split(",") for line in phantoms.splits_csv.read_text().splitlines()[1:]]
    assert description["fingerprint"] == hashed([f"{sha256} {label}\n" for sha256, _, label, _ in rows])
    assert description["split_fingerprint"] == hashed([f"{sha256} {split}\n" for sha256, _, _, split in rows])
    assert [row.sha256 for row in read_manifest(phantoms.manifest_csv)] == [row[0] for row in rows]


def test_label_only_in_groups_of_another_label_is_rejected() -> None:
    rows = manifest_rows({"glioma": [1] * 20, "no_tumor": [1] * 20})
    twins = [ManifestRow(hashlib.sha256(f"twin {index}".encode()).hexdigest(), index, "meningioma") for index in range(4)]
    with pytest.raises(
        InputError, match="class meningioma: got 4 images in 4 groups of patients or near copies, expected at least one"
    ):
        splits([*rows, *twins])


def test_repeated_run_writes_the_same_bytes(phantoms: DataSet, tmp_path: Path) -> None:
    preprocess(phantoms.images_zip, phantoms.manifest_csv, shards=tmp_path / "shards", splits_csv=tmp_path / "splits.csv")
    assert (tmp_path / "splits.csv").read_bytes() == phantoms.splits_csv.read_bytes()
    for path in phantoms.shards.iterdir():
        assert (tmp_path / "shards" / path.name).read_bytes() == path.read_bytes()
