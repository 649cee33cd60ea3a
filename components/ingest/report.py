"""Write the ingest report: counts, a contact sheet, possible shortcuts, duplicates and quarantined files."""

import base64
import io
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from brain_tumor.classes import class_order
from brain_tumor.images import read_image
from components.ingest.alignment import MIN_CORRELATION
from components.ingest.class_folders import FoundFiles
from components.ingest.masks import AMBIGUOUS, EMPTY, MASKS_FOLDER, TAKEN, WRONG_SIZE
from components.ingest.near_copies import MAX_DISTANCE, NearCopies
from components.ingest.outputs import member_name
from components.ingest.patients import split_by
from components.ingest.reading import EXACT_COPY, KEPT, LABEL_CONFLICT, QUARANTINED, Record, properties_of
from components.ingest.shortcuts import find_shortcuts, plot_by_class
from components.ingest.sources import Source
from components.report import render

THUMBNAIL_PX = 96
CONTACT_SHEET_IMAGES = 96
MAX_EXAMPLES = 12
# A larger group says that the images are too much alike for the split, or that different images were taken for copies.
MAX_GROUP_FRACTION = 0.05
STATUSES = (KEPT, EXACT_COPY, LABEL_CONFLICT, QUARANTINED)
MASK_REASONS = {
    WRONG_SIZE: "its size is not the size of the image",
    EMPTY: "it is empty",
    AMBIGUOUS: f"several images have this name: move the mask to {MASKS_FOLDER}/<class folder>",
}


def write_report(
    path: Path,
    records: list[Record],
    near: NearCopies,
    found: FoundFiles,
    *,
    source: Source,
    masks: Counter[str],
    images: zipfile.ZipFile,
) -> None:
    """Write the HTML report.

    Args:
        path: File to write.
        records: All files.
        near: Near copies among the kept records, in their order.
        found: The files below the source.
        source: The source.
        masks: Number of masks by status.
        images: `images.zip` with the kept images.
    """
    kept = [record for record in records if record.status == KEPT]
    classes = class_order({record.label for record in kept})
    conflicts = sorted(_with_status(records, LABEL_CONFLICT), key=lambda record: properties_of(record).pixel_hash)
    html = render(
        "ingest/report.html",
        source=source.name,
        synthetic=source.synthetic,
        found=found,
        files=len(records),
        kept=len(kept),
        statuses=_count_statuses(records),
        classes=[_count_class(label, records) for label in class_order({record.label for record in records})],
        groups=len(set(near.groups.tolist())),
        split_by=split_by(kept),
        group_sizes=sorted(Counter(Counter(near.groups.tolist()).values()).items()),
        largest_group=int(np.bincount(near.groups).max()),
        large_groups=_large_groups(kept, images),
        near=near,
        max_group_fraction=MAX_GROUP_FRACTION,
        max_distance=MAX_DISTANCE,
        min_correlation=MIN_CORRELATION,
        masks=masks,
        mask_problems=_mask_problems(masks, found),
        sheets=[_class_sheet(label, kept, CONTACT_SHEET_IMAGES // len(classes), images) for label in classes],
        shortcuts=find_shortcuts(kept, classes),
        plots=plot_by_class(kept, classes),
        formats=Counter((properties_of(record).format, properties_of(record).mode) for record in kept).most_common(),
        cross_label_examples=[
            (_gallery_entry(kept[first], images), _gallery_entry(kept[second], images))
            for first, second in near.cross_label_examples
        ],
        conflicts=[_gallery_entry(record, images) for record in conflicts[: 2 * MAX_EXAMPLES]],
        quarantined=_group_by_reason(_with_status(records, QUARANTINED)),
    )
    path.write_text(html, encoding="utf-8")


def _with_status(records: list[Record], status: str) -> list[Record]:
    return [record for record in records if record.status.startswith(status)]


def _count_statuses(records: list[Record]) -> dict[str, int]:
    return {status: len(_with_status(records, status)) for status in STATUSES}


def _count_class(label: str, records: list[Record]) -> dict[str, object]:
    members = [record for record in records if record.label == label]
    groups = len({record.group for record in members if record.status == KEPT})
    return {"label": label, "files": len(members), "groups": groups, **_count_statuses(members)}


def _class_sheet(label: str, kept: list[Record], at_most: int, images: zipfile.ZipFile) -> dict[str, object]:
    return _contact_sheet(label, [record for record in kept if record.label == label], at_most, images)


def _large_groups(kept: list[Record], images: zipfile.ZipFile) -> list[dict[str, object]]:
    """Return the contact sheets of the groups of near copies above 5 % of the kept images, largest first."""
    sizes = Counter(record.group for record in kept).most_common()
    large = [group for group, size in sizes if size > max(1, MAX_GROUP_FRACTION * len(kept))]
    members = [[record for record in kept if record.group == group] for group in large]
    return [
        _contact_sheet(f"{len(group)} images, {len(group) / len(kept):.1%}", group, CONTACT_SHEET_IMAGES // len(large), images)
        for group in members
    ]


def _contact_sheet(title: str, members: list[Record], at_most: int, images: zipfile.ZipFile) -> dict[str, object]:
    """Sample images at random with a fixed seed, in the manifest's order."""
    sample = np.random.default_rng(0).choice(len(members), size=min(at_most, len(members)), replace=False)
    return {"title": title, "total": len(members), "images": [_thumbnail(members[index], images) for index in sorted(sample)]}


def _mask_problems(masks: Counter[str], found: FoundFiles) -> list[tuple[int, str]]:
    """Return the reasons for which masks are not taken, with the number of images, or of masks without an image."""
    problems = [
        (count, MASK_REASONS.get(status, f"it cannot be read: {status}"))
        for status, count in masks.most_common()
        if status != TAKEN
    ]
    return problems + ([(found.unmatched_masks, "no image has this name")] if found.unmatched_masks else [])


def _gallery_entry(record: Record, images: zipfile.ZipFile) -> dict[str, str]:
    return {"label": record.label, "path": record.path, "thumbnail": _thumbnail(record, images)}


def _thumbnail(record: Record, images: zipfile.ZipFile) -> str:
    """Return a small JPEG of a readable file as a `data:` URI."""
    data = images.read(member_name(record)) if record.status == KEPT else record.stored.read_bytes()
    pixels = read_image(data).pixels
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _group_by_reason(quarantined: Iterable[Record]) -> list[dict[str, object]]:
    """Group the quarantined files by reason, most frequent first."""
    by_reason: dict[str, list[str]] = {}
    for record in quarantined:
        by_reason.setdefault(record.reason, []).append(record.path)
    most_first = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    return [{"reason": reason, "count": len(paths), "paths": paths[:MAX_EXAMPLES]} for reason, paths in most_first]
