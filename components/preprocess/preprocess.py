"""Split the images by group and write the training shards."""

import csv
import hashlib
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from brain_tumor.errors import InputError
from components.dataset import HELD_OUT, SPLITS, ImagesZip, Sample, write_splits
from components.errors import room_for
from components.files import atomic_write
from components.progress import with_progress
from components.tfrecords import TFRecordWriter, encode_example

RECORDS_PER_SHARD = 1024


@dataclass(frozen=True)
class ManifestRow:
    """A manifest row of a kept image."""

    sha256: str
    group: int
    label: str


def preprocess(
    images_zip: Path,
    manifest_csv: Path,
    *,
    shards: Path,
    splits_csv: Path,
    test_share: float = 0.2,
    validation_share: float = 0.15,
    seed: int = 0,
) -> dict[str, dict[str, int]]:
    """Split the manifest's kept images and write TFRecord shards of the splits `train` and `validation`.

    Args:
        images_zip: Images from ingest.
        manifest_csv: Manifest from ingest.
        shards: Folder to write: `<split>-00000-of-00001.tfrecord` and dataset.json.
        splits_csv: Table to write: sha256, group, label, split.
        test_share: Fraction of each label's images for the held-out test set, 0-1.
        validation_share: Fraction of the remaining images for validation, 0-1.
        seed: Seed of the split.

    Returns:
        The number of images: {split: {label: count}}.

    Raises:
        InputError: A fraction is outside (0, 1), or a label has too few groups for all splits.
    """
    for name, share in (("test_share", test_share), ("validation_share", validation_share)):
        if not 0 < share < 1:
            raise InputError(f"{name}: got {share}, expected a fraction between 0 and 1")
    rows = read_manifest(manifest_csv)
    samples = split_by_group(rows, test_share=test_share, validation_share=validation_share, seed=seed)
    with ImagesZip(images_zip) as images:
        counts = write_shards(images, samples, shards)
    write_splits(splits_csv, samples)
    return counts


def write_shards(images: ImagesZip, samples: list[Sample], shards: Path) -> dict[str, dict[str, int]]:
    """Write the shards of the splits `train` and `validation`, and dataset.json; return the images by split and label."""
    classes = images.dataset["classes"]
    counts = _count_labels(samples, classes)
    dataset = images.dataset | {
        "counts": counts,
        "fingerprint": _hash_lines(f"{sample.sha256} {sample.label}" for sample in samples),
        "split_fingerprint": _hash_lines(f"{sample.sha256} {sample.split}" for sample in samples),
    }
    size = sum(images.size(sample.sha256) for sample in samples if sample.split != HELD_OUT)
    with room_for(size, shards.parent), atomic_write(shards) as folder:
        folder.mkdir()
        for split in ("train", "validation"):
            _write_split(images, [sample for sample in samples if sample.split == split], classes, folder)
        (folder / "dataset.json").write_text(json.dumps(dataset, indent=2) + "\n")
    return counts


def read_manifest(manifest_csv: Path) -> list[ManifestRow]:
    """Return the kept images, sorted by sha256, which mixes the labels."""
    with manifest_csv.open(newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["verdict"] == "kept"]
    return sorted((ManifestRow(row["sha256"], int(row["group"]), row["label"]) for row in rows), key=lambda row: row.sha256)


def split_by_group(rows: Sequence[ManifestRow], *, test_share: float, validation_share: float, seed: int) -> list[Sample]:
    """Assign every image to a split: no group is in two splits, and each label keeps its fractions.

    A keyed hash orders the groups, so the split depends only on the images and the seed. A group with several labels
    (near copies with different labels) counts for its most frequent label.

    Raises:
        InputError: A label has too few groups for all splits.
    """
    # Not scikit-learn's StratifiedGroupKFold: its folds have equal sizes, and they depend on the numbers of the groups.
    groups: dict[int, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    by_label: dict[str, list[list[ManifestRow]]] = defaultdict(list)
    for members in groups.values():
        labels = Counter(row.label for row in members)
        by_label[min(labels, key=lambda label: (-labels[label], label))].append(members)

    samples = []
    for _, label_groups in sorted(by_label.items()):
        label_groups.sort(key=lambda members: _shuffle_key(members, seed))
        for members, split in zip(label_groups, _assign_splits(label_groups, test_share, validation_share), strict=True):
            samples += [Sample(row.sha256, row.group, row.label, split) for row in members]
    _check_labels(samples)
    return sorted(samples, key=lambda sample: sample.sha256)


def _check_labels(samples: list[Sample]) -> None:
    for label in sorted({sample.label for sample in samples}):
        members = [sample for sample in samples if sample.label == label]
        groups, splits = {sample.group for sample in members}, {sample.split for sample in members}
        if splits != set(SPLITS):
            raise InputError(
                f"class {label}: got {len(members)} images in {len(groups)} groups of patients or near copies, "
                f"expected at least one group of its own in each of {', '.join(SPLITS)}; add images"
            )


def _shuffle_key(members: list[ManifestRow], seed: int) -> str:
    return hashlib.sha256(f"{seed} {min(row.sha256 for row in members)}".encode()).hexdigest()


def _assign_splits(groups: list[list[ManifestRow]], test_share: float, validation_share: float) -> list[str]:
    """Return the split of each group: fill `test`, then `validation`, skip groups that do not fit; the rest is `train`."""
    total = sum(map(len, groups))
    names = ["train"] * len(groups)
    test_room = round(test_share * total)
    validation_room = round(validation_share * (total - test_room))
    for split, room, groups_to_leave in (("test", test_room, 2), ("validation", validation_room, 1)):
        free = [index for index, name in enumerate(names) if name == "train"]
        taken: list[int] = []
        for index in free:
            if len(groups[index]) <= room and len(free) - len(taken) > groups_to_leave:
                taken.append(index)
                room -= len(groups[index])
        smallest = sorted(free, key=lambda index: len(groups[index]))[:1]
        for index in taken or smallest:
            names[index] = split
    return names


def _write_split(images: ImagesZip, samples: list[Sample], classes: list[str], folder: Path) -> None:
    split, shard_count = samples[0].split, math.ceil(len(samples) / RECORDS_PER_SHARD)
    remaining = with_progress(samples, f"preprocess: wrote {split} images", total=len(samples))
    for shard in range(shard_count):
        with TFRecordWriter(folder / f"{split}-{shard:05d}-of-{shard_count:05d}.tfrecord") as writer:
            for sample in itertools.islice(remaining, RECORDS_PER_SHARD):
                features: dict[str, bytes | int] = {
                    "image_bytes": images.read_bytes(sample.sha256),
                    "label": classes.index(sample.label),
                    "group": sample.group,
                    "sha256": sample.sha256.encode(),
                }
                writer.write(encode_example(features))


def _count_labels(samples: list[Sample], classes: list[str]) -> dict[str, dict[str, int]]:
    counts = {split: dict.fromkeys(classes, 0) for split in SPLITS}
    for sample in samples:
        counts[sample.split][sample.label] += 1
    return counts


def _hash_lines(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()
