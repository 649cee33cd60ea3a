"""Group the images of one patient, study or series, so that no patient is in two splits."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from brain_tumor.errors import InputError
from components.ingest.near_copies import join_groups
from components.ingest.reading import Record

PATIENT = "patient"
BY_PATIENT, BY_NEAR_COPIES, BY_BOTH = "patient", "near_copies", "patient_or_near_copies"


def read_pattern(text: str) -> re.Pattern[str] | None:
    """Return the regular expression of the parameter `patient_pattern`; None if it is empty.

    Raises:
        InputError: It is no regular expression, or has no group `patient`.
    """
    if not text:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InputError(f"patient_pattern: got {text!r}, expected a regular expression: {error}") from None
    if PATIENT not in pattern.groupindex:
        raise InputError(rf"patient_pattern: got {text!r}, expected a group (?P<patient>...), as in (?P<patient>p\d+)_")
    return pattern


def name_patients(records: Sequence[Record], pattern: re.Pattern[str] | None) -> list[Record]:
    """Return the records, those of readable files that are no DICOM with the patient that the pattern finds in their names.

    Raises:
        InputError: The pattern does not match some of these names. They may identify patients, so only their number is stated.
    """
    if pattern is None:
        return list(records)
    named, unmatched, searched = [], 0, 0
    for record in records:
        if record.properties is not None and record.properties.format != "DICOM":
            found = pattern.search(PurePosixPath(record.path).name)
            searched += 1
            if found is None or not found[PATIENT]:
                unmatched += 1
            else:
                record = replace(record, properties=replace(record.properties, identity=(f"{PATIENT} {found[PATIENT]}",)))
        named.append(record)
    if unmatched:
        raise InputError(f"patient_pattern: got {unmatched:,} of {searched:,} file names without a match, expected one in each")
    return named


def join_patients(groups: np.ndarray, records: Sequence[Record], kept: Iterable[Record]) -> np.ndarray:
    """Merge the groups of one patient, study or series; a dropped copy connects its patient with that of the kept one.

    Args:
        groups: Groups of near copies of the kept records, int [n], numbered from 0 in the order of first members.
        records: All records.
        kept: The kept records.
    """
    copies: dict[str, set[str]] = {}
    for record in records:
        if record.properties and record.properties.identity:
            copies.setdefault(record.properties.pixel_hash, set()).update(record.properties.identity)
    first: dict[str, int] = {}
    pairs = [
        (first.setdefault(each, row), row)
        for row, record in enumerate(kept)
        for each in sorted(copies.get(record.properties.pixel_hash, ()) if record.properties else ())
    ]
    return join_groups(groups, [np.array(pairs, np.int64).reshape(-1, 2)])


def split_by(kept: Sequence[Record]) -> str:
    """Return what keeps images together in a split: `patient`, `near_copies`, or `patient_or_near_copies`."""
    known = sum(any(each.startswith(f"{PATIENT} ") for each in _identity(record)) for record in kept)
    return BY_NEAR_COPIES if not known else BY_PATIENT if known == len(kept) else BY_BOTH


def _identity(record: Record) -> tuple[str, ...]:
    return record.properties.identity if record.properties else ()
