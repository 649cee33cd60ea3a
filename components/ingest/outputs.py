"""Write the inputs of the next steps: `images.zip` and `manifest.csv`."""

import csv
import json
import zipfile
from collections import Counter
from pathlib import Path

from components.ingest.masks import AMBIGUOUS, TAKEN, MaskError, read_mask
from components.ingest.patients import split_by
from components.ingest.reading import KEPT, Record, properties_of
from components.ingest.sources import Source
from components.progress import with_progress
from components.workers import Workers

COLUMNS = ("path", "label", "sha256", "group", "width", "height", "mode", "format", "verdict")


def write_manifest(path: Path, records: list[Record]) -> None:
    """Write one row per file (RFC 4180), sorted by path; properties of quarantined files stay empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)  # with another line end, a carriage return in a name is not quoted and starts a row
        writer.writerow(COLUMNS)
        for record in records:
            image = record.properties
            properties = (image.width_px, image.height_px, image.mode, image.format) if image else (None,) * 4
            writer.writerow((record.path, record.label, record.sha256, record.group, *properties, record.status))


def write_images(
    images: zipfile.ZipFile, records: list[Record], source: Source, counts: dict[str, int], workers: Workers
) -> Counter[str]:
    """Write the kept images as the model's graph reads them, their masks and `dataset.json`, uncompressed, one at a time.

    Returns:
        The number of masks by status: `taken`, or the reason of a `MaskError`.
    """
    kept = [record for record in records if record.status == KEPT]
    dataset = {"source": source.name, "synthetic": source.synthetic, "classes": list(counts), "counts": counts}
    dataset["split_by"] = split_by(kept)
    uses = Counter(record.labelled_file.mask for record in kept)
    with_mask = ((record, uses[record.labelled_file.mask] > 1) for record in kept if record.labelled_file.mask)
    masks = workers.map(_read_mask, with_mask)
    statuses: Counter[str] = Counter()
    _add(images, "dataset.json", json.dumps(dataset, indent=2).encode())
    for record in with_progress(kept, "ingest: wrote images", total=len(kept)):
        _add(images, member_name(record), record.stored.read_bytes())
        if record.labelled_file.mask:
            mask = next(masks)
            if isinstance(mask, bytes):
                _add(images, f"masks/{record.sha256}.png", mask)
            statuses[TAKEN if isinstance(mask, bytes) else mask.code] += 1
    return statuses


def member_name(record: Record) -> str:
    """Return the name of a kept image in `images.zip`."""
    return f"images/{record.sha256}.{properties_of(record).extension}"


def _read_mask(record_and_ambiguity: tuple[Record, bool]) -> "bytes | MaskError":
    record, is_ambiguous = record_and_ambiguity
    image, mask = properties_of(record), record.labelled_file.mask
    if is_ambiguous or mask is None:
        return MaskError(AMBIGUOUS)
    try:
        return read_mask(mask, width_px=image.width_px, height_px=image.height_px)
    except MaskError as error:
        return error
    except MemoryError:
        return MaskError("out_of_memory")


def _add(images: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a member with a fixed date, so that the same dataset gives the same archive."""
    images.writestr(zipfile.ZipInfo(name), data)
