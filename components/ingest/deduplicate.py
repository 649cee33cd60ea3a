"""Decide which files are kept, and which of those are near copies of one another."""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from components.ingest.near_copies import NearCopies, find_near_copies
from components.ingest.reading import EXACT_COPY, KEPT, LABEL_CONFLICT, ImageProperties, Record


def deduplicate(records: list[Record]) -> tuple[list[Record], NearCopies]:
    """Mark exact copies and label conflicts, and give every kept file its group.

    Args:
        records: every file, sorted by path, the readable ones marked `kept`.

    Returns:
        The records in the same order, and the near copies among the kept ones, in their order.
    """
    judged = _mark_duplicates(records)
    kept = [record for record in judged if record.verdict == KEPT]
    frequencies = np.array([properties_of(record).frequencies for record in kept]).reshape(-1, 8, 8)
    near = find_near_copies(frequencies, [record.label for record in kept])
    groups = iter(near.groups.tolist())
    return [replace(record, group=next(groups)) if record.verdict == KEPT else record for record in judged], near


def properties_of(record: Record) -> ImageProperties:
    """Return the look of a readable file."""
    if record.look is None:
        raise ValueError(f"{record.path} is {record.verdict}: it has no look")
    return record.look


def _mark_duplicates(records: list[Record]) -> list[Record]:
    labels: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.look:
            labels[record.look.pixel_hash].add(record.label)
    seen: set[str] = set()
    judged = []
    for record in records:
        verdict = record.verdict
        if record.look:
            same = record.look.pixel_hash
            verdict = LABEL_CONFLICT if len(labels[same]) > 1 else EXACT_COPY if same in seen else KEPT
            seen.add(same)
        judged.append(replace(record, verdict=verdict))
    return judged
