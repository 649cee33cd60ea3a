"""Ingest a dataset of labelled images: decode every file as the service does, mark duplicates, write the report."""

import contextlib
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from brain_tumor.classes import class_order
from brain_tumor.errors import InputError
from components.errors import room_for
from components.files import atomic_write
from components.ingest.class_folders import FoundFiles, find_files
from components.ingest.deduplicate import deduplicate
from components.ingest.near_copies import NearCopies
from components.ingest.outputs import write_images, write_manifest
from components.ingest.patients import name_patients, read_pattern
from components.ingest.reading import KEPT, Record, inspect_files
from components.ingest.report import write_report
from components.ingest.sources import fetch
from components.workers import Workers


@dataclass(frozen=True)
class IngestSummary:
    """The result of an ingest.

    Attributes:
        files: Number of files in class folders.
        kept: Number of kept files.
        statuses: Number of files by status, most frequent first.
        counts: Number of kept files by class, in the model's class order.
        groups: Number of groups of near copies among the kept files, groups of one included.
        near_pairs: Number of pairs of near copies among the kept files.
        cross_label_pairs: Number of these pairs with two labels.
        synthetic: Whether the images are phantoms.
    """

    files: int
    kept: int
    statuses: dict[str, int]
    counts: dict[str, int]
    groups: int
    near_pairs: int
    cross_label_pairs: int
    synthetic: bool

    @property
    def classes(self) -> list[str]:
        return list(self.counts)


def ingest(
    source: str,
    *,
    images_zip: Path,
    manifest_csv: Path,
    report_html: Path,
    ignore_folders: str = "",
    patient_pattern: str = "",
) -> IngestSummary:
    """Read the images of `source` and write all three outputs or none.

    Args:
        source: Folder, zip or tar, or URI: s3://, gs://, https://, kaggle://owner/name, synthetic://?n=400&seed=0.
        images_zip: Archive to write: the kept images, encoded as the model's graph reads them, and their masks.
        manifest_csv: Table to write: one row per file.
        report_html: Report to write: counts, a contact sheet, possible shortcuts, duplicates and quarantined files.
        ignore_folders: Names of folders to leave out, at any depth, separated by commas.
        patient_pattern: Regular expression that finds the group `patient` in each file name but those of DICOM files; empty for
            none.

    Raises:
        InputError: The source cannot be read, has fewer than two classes with usable images, a name of a folder to leave out
            is a path, or the pattern is invalid or does not match a file name.
    """
    ignored = [name.strip() for name in ignore_folders.split(",") if name.strip()]
    if paths := [name for name in ignored if "/" in name or "\\" in name]:
        raise InputError(
            f"ignore_folders: got {paths[0]!r}, expected names of folders, separated by commas, without their parents"
        )
    pattern = read_pattern(patient_pattern)
    with tempfile.TemporaryDirectory(prefix="ingest-") as scratch:
        data = fetch(source, Path(scratch))
        found = find_files(data.folder, ignore_folders=ignored, unwritten=data.unwritten)
        converted = Path(scratch) / "converted"
        converted.mkdir()
        with Workers() as workers, contextlib.ExitStack() as outputs:
            inspected, fingerprints = inspect_files(found.files, converted, workers)
            records, near = deduplicate(name_patients(inspected, pattern), fingerprints, workers)
            del inspected, fingerprints  # their memory is free for the report
            summary = _summarise(records, near, synthetic=data.synthetic)
            _require_two_classes(summary, found)
            size = sum(record.stored.stat().st_size for record in records if record.status == KEPT)
            outputs.enter_context(room_for(size, images_zip.parent))
            zip_path, manifest_path, report_path = (
                outputs.enter_context(atomic_write(path)) for path in (images_zip, manifest_csv, report_html)
            )
            with zipfile.ZipFile(zip_path, "a") as images:
                masks = write_images(images, records, data, summary.counts, workers)
                write_report(report_path, records, near, found, source=data, masks=masks, images=images)
            write_manifest(manifest_path, records)
    print(f"ingest: kept {summary.kept:,} of {summary.files:,} files in {summary.groups:,} groups", flush=True)
    return summary


def _summarise(records: list[Record], near: NearCopies, *, synthetic: bool) -> IngestSummary:
    counts = Counter(record.label for record in records if record.status == KEPT)
    return IngestSummary(
        files=len(records),
        kept=counts.total(),
        statuses=dict(Counter(record.status for record in records).most_common()),
        counts={label: counts[label] for label in class_order(set(counts))},
        groups=len(set(near.groups.tolist())),
        near_pairs=near.pairs,
        cross_label_pairs=near.cross_label_pairs,
        synthetic=synthetic,
    )


def _require_two_classes(summary: IngestSummary, found: FoundFiles) -> None:
    if len(summary.classes) >= 2:
        return
    details = [f"{summary.kept} of {summary.files} files can be used"]
    details += [f"{label} {count}" for label, count in summary.counts.items()]
    details += [f"{status} {count}" for status, count in summary.statuses.items() if status != KEPT]
    details += [f"empty class folder {folder}" for folder in found.empty]
    raise InputError(f"classes: got {len(summary.classes)}, expected at least 2; {', '.join(details)}")
