"""Mark exact copies and label conflicts, and group near copies."""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from components.ingest.alignment import THUMBNAIL_SIDE_PX
from components.ingest.near_copies import NearCopies, find_near_copies
from components.ingest.reading import EXACT_COPY, KEPT, LABEL_CONFLICT, Record, properties_of


def deduplicate(records: list[Record]) -> tuple[list[Record], NearCopies]:
    """Mark exact copies and label conflicts, and assign every kept file its group.

    Args:
        records: All files, sorted by path; readable ones have the status `kept`.

    Returns:
        The records in the same order, and the near copies among the kept records, in their order.
    """
    marked = _mark_duplicates(records)
    kept = [record for record in marked if record.status == KEPT]
    frequencies = np.array([properties_of(record).frequencies for record in kept]).reshape(-1, 8, 8)
    thumbnails = np.array([properties_of(record).thumbnail for record in kept]).reshape(-1, THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX)
    near = find_near_copies(frequencies, thumbnails, [record.label for record in kept])
    groups = iter(near.groups.tolist())
    return [replace(record, group=next(groups)) if record.status == KEPT else record for record in marked], near


def _mark_duplicates(records: list[Record]) -> list[Record]:
    labels: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.properties:
            labels[record.properties.pixel_hash].add(record.label)
    seen: set[str] = set()
    marked = []
    for record in records:
        status = record.status
        if record.properties:
            same = record.properties.pixel_hash
            status = LABEL_CONFLICT if len(labels[same]) > 1 else EXACT_COPY if same in seen else KEPT
            seen.add(same)
        marked.append(replace(record, status=status))
    return marked
