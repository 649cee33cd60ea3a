"""Split the pictures by group and write what training reads."""

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.dataset import SPLITS, ImagesZip
from components.errors import InputError
from components.files import written_whole

RECORDS_PER_SHARD = 1024


@dataclass(frozen=True)
class Item:
    """One kept picture of the manifest."""

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
    """Split the manifest's kept pictures and write TFRecord shards of the training and validation parts.

    Args:
        images_zip: ingest's pictures.
        manifest_csv: ingest's manifest.
        shards: the folder to write: `<split>-00000-of-00001.tfrecord` and dataset.json.
        splits_csv: the table to write: sha256, group, label, split.
        test_share: held out, as a share of every label's pictures.
        validation_share: steers early stopping, as a share of what is not held out.
        seed: of the split.

    Returns:
        How many pictures of each label each split holds: {split: {label: count}}.

    Raises:
        InputError: a share outside (0, 1), or a label with too few groups to be in every split.
    """
    for name, share in (("test_share", test_share), ("validation_share", validation_share)):
        if not 0 < share < 1:
            raise InputError(f"{name} is {share}, wanted a share between 0 and 1")
    items = read_manifest(manifest_csv)
    split_of = split_by_group(items, test_share=test_share, validation_share=validation_share, seed=seed)
    with ImagesZip(images_zip) as images, written_whole(shards) as folder:
        folder.mkdir()
        dataset = dict(images.dataset)
        for split in ("train", "validation"):
            chosen = [item for item in items if split_of[item.sha256] == split]
            _write_shards(images, chosen, dataset["classes"], folder, split)
        counts = _counts(items, split_of, dataset["classes"])
        dataset |= {"counts": counts, "fingerprint": fingerprint(items)}
        (folder / "dataset.json").write_text(json.dumps(dataset, indent=2) + "\n")
        _write_splits(splits_csv, items, split_of)
    return counts


def read_manifest(manifest_csv: Path) -> list[Item]:
    """Return the kept pictures, sorted by sha256: an order in which labels are mixed evenly."""
    with manifest_csv.open(newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["verdict"] == "kept"]
    return sorted((Item(row["sha256"], int(row["group"]), row["label"]) for row in rows), key=lambda item: item.sha256)


def fingerprint(items: Iterable[Item]) -> str:
    """Return the SHA-256 over the sorted `sha256 label` lines."""
    lines = sorted(f"{item.sha256} {item.label}\n" for item in items)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def split_by_group(items: Sequence[Item], *, test_share: float, validation_share: float, seed: int) -> dict[str, str]:
    """Assign every picture's sha256 to a split: no group in two splits, every label in its share.

    Groups are drawn in the order of a keyed hash, so the split depends on the pictures and the seed alone. A group that
    holds several labels (near copies that were labelled differently) counts for its most frequent one.

    Raises:
        InputError: a label has too few groups to be in every split.
    """
    groups: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.group].append(item)
    by_label: dict[str, list[list[Item]]] = defaultdict(list)
    for members in groups.values():
        labels = sorted(item.label for item in members)
        by_label[max(labels, key=labels.count)].append(members)

    split_of = {}
    for label, label_groups in sorted(by_label.items()):
        if len(label_groups) < len(SPLITS):
            raise InputError(
                f"class {label} has {sum(map(len, label_groups))} pictures in {len(label_groups)} groups of near copies: "
                f"at least {len(SPLITS)} groups are needed, one each for {', '.join(SPLITS)}"
            )
        label_groups.sort(key=lambda members: _draw(members, seed))
        for members, split in zip(label_groups, _fill(label_groups, test_share, validation_share), strict=True):
            split_of.update({item.sha256: split for item in members})
    return split_of


def _draw(members: list[Item], seed: int) -> str:
    return hashlib.sha256(f"{seed} {min(item.sha256 for item in members)}".encode()).hexdigest()


def _fill(groups: list[list[Item]], test_share: float, validation_share: float) -> list[str]:
    """Name a split for each of 3 or more groups in order, passing over one that does not fit; the rest is for training."""
    total = sum(map(len, groups))
    names = ["train"] * len(groups)
    test_room = round(test_share * total)
    for split, room, groups_to_leave in (
        ("test", test_room, 2),
        ("validation", round(validation_share * (total - test_room)), 1),
    ):
        free = [index for index, name in enumerate(names) if name == "train"]
        taken: list[int] = []
        for index in free[:]:
            if len(groups[index]) <= room and len(free) - len(taken) > groups_to_leave:
                taken.append(index)
                room -= len(groups[index])
        for index in taken or [min(free, key=lambda index: len(groups[index]))]:
            names[index] = split
    return names


def _write_shards(images: ImagesZip, items: list[Item], classes: list[str], folder: Path, split: str) -> None:
    import tensorflow as tf

    shard_count = -(-len(items) // RECORDS_PER_SHARD)
    for shard in range(shard_count):
        path = folder / f"{split}-{shard:05d}-of-{shard_count:05d}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for item in items[shard * RECORDS_PER_SHARD : (shard + 1) * RECORDS_PER_SHARD]:
                feature = {
                    "image_bytes": tf.train.Feature(bytes_list=tf.train.BytesList(value=[images.read_bytes(item.sha256)])),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[classes.index(item.label)])),
                    "sha256": tf.train.Feature(bytes_list=tf.train.BytesList(value=[item.sha256.encode()])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
        print(f"preprocess: {split} shard {shard + 1} of {shard_count} written", flush=True)


def _write_splits(splits_csv: Path, items: list[Item], split_of: dict[str, str]) -> None:
    with written_whole(splits_csv) as partial, partial.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["sha256", "group", "label", "split"])
        writer.writerows([item.sha256, item.group, item.label, split_of[item.sha256]] for item in items)


def _counts(items: list[Item], split_of: dict[str, str], classes: list[str]) -> dict[str, dict[str, int]]:
    counts = {split: dict.fromkeys(classes, 0) for split in SPLITS}
    for item in items:
        counts[split_of[item.sha256]][item.label] += 1
    return counts
