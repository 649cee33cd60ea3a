"""Write the inputs of the next steps: `images.zip` and `manifest.csv`."""

import csv
import json
import zipfile
from collections import Counter
from pathlib import Path

from components.ingest.masks import AMBIGUOUS, TAKEN, MaskError, read_mask
from components.ingest.reading import KEPT, ImageProperties, Record, properties_of
from components.ingest.sources import Source

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


def write_images(path: Path, records: list[Record], source: Source, counts: dict[str, int]) -> Counter[str]:
    """Write the kept images as the model's graph reads them, their masks and `dataset.json`, uncompressed.

    Returns:
        The number of masks by status: `taken`, or the reason of a `MaskError`.
    """
    dataset = {"source": source.name, "synthetic": source.synthetic, "classes": list(counts), "counts": counts}
    uses = Counter(record.labelled_file.mask for record in records if record.status == KEPT)
    masks: Counter[str] = Counter()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as images:
        _add(images, "dataset.json", json.dumps(dataset, indent=2).encode())
        for record in records:
            if record.status != KEPT:
                continue
            image = properties_of(record)
            _add(images, f"images/{record.sha256}.{image.extension}", image.stored.read_bytes())
            if mask := record.labelled_file.mask:
                try:
                    _add(images, f"masks/{record.sha256}.png", _read_mask(mask, image, uses[mask]))
                    masks[TAKEN] += 1
                except MaskError as error:
                    masks[error.reason] += 1
    return masks


def _read_mask(mask: Path, image: ImageProperties, uses: int) -> bytes:
    if uses > 1:
        raise MaskError(AMBIGUOUS)
    return read_mask(mask, width_px=image.width_px, height_px=image.height_px)


def _add(images: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a member with a fixed date, so that the same dataset gives the same archive."""
    images.writestr(zipfile.ZipInfo(name), data)
