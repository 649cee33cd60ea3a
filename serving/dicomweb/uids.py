"""UIDs of the results. A repeated run derives the same ones and adds nothing to the PACS; a new model version adds a set."""

import hashlib
import json
from dataclasses import dataclass

MAX_CAPTURES = 32  # slices with a heatmap, the most that the service gives


@dataclass(frozen=True)
class ResultUids:
    """UIDs of the series and instances of one series' results.

    Attributes:
        report_series: Series of the structured report.
        report: The structured report.
        map_series: Series of the parametric map.
        map: The parametric map.
        capture_series: Series of the secondary captures.
        captures: The secondary captures, [`MAX_CAPTURES`], that of the slice with the highest probability first.
    """

    report_series: str
    report: str
    map_series: str
    map: str
    capture_series: str
    captures: tuple[str, ...]


def derive_uid(*values: str | int) -> str:
    """Return a UID of the form 2.25 (DICOM PS3.5 B.2) of the first 128 bits of the values' SHA-256 digest."""
    digest = hashlib.sha256(json.dumps(values).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def result_uids(series_uid: str, model: str, version: str) -> ResultUids:
    """Return the UIDs of the results for a series.

    Args:
        series_uid: Series Instance UID of the source images.
        model: Name of the model.
        version: Version of the model.
    """
    key = (series_uid, model, version)
    return ResultUids(
        report_series=derive_uid(*key, "report series"),
        report=derive_uid(*key, "report"),
        map_series=derive_uid(*key, "parametric map series"),
        map=derive_uid(*key, "parametric map"),
        capture_series=derive_uid(*key, "secondary capture series"),
        captures=tuple(derive_uid(*key, "secondary capture", number) for number in range(1, MAX_CAPTURES + 1)),
    )
