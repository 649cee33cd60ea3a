"""Mark exact copies and label conflicts, and group near copies and the images of a patient."""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from components.ingest.near_copies import NearCopies, find_near_copies
from components.ingest.patients import join_patients
from components.ingest.reading import EXACT_COPY, KEPT, LABEL_CONFLICT, Fingerprints, Record
from components.workers import Workers


def deduplicate(records: list[Record], fingerprints: Fingerprints, workers: Workers) -> tuple[list[Record], NearCopies]:
    """Mark exact copies and label conflicts, and assign every kept file its group.

    Args:
        records: All files, sorted by path; readable ones have the status `kept`.
        fingerprints: Their fingerprints, which are used up.
        workers: Processes to search for near copies in.

    Returns:
        The records in the same order, and the near copies among the kept records, in their order, with the groups joined by
        patient.
    """
    print("ingest: searching for duplicates", flush=True)
    marked = _mark_duplicates(records)
    kept = np.flatnonzero([record.status == KEPT for record in marked])
    found = fingerprints.keep(kept)
    near = find_near_copies(found.frequencies, found.thumbnails, [marked[row].label for row in kept], workers)
    near = replace(near, groups=join_patients(near.groups, marked, (marked[row] for row in kept)))
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
