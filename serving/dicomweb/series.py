"""A series: as the PACS lists it, and as the state keeps it."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple


class Found(NamedTuple):
    """A series as the PACS lists it; `instances` is None if it does not count them."""

    study_uid: str
    series_uid: str
    instances: int | None


@dataclass(frozen=True)
class Series:
    """A series that waits for its results, or a dead letter.

    Attributes:
        key: SHA-256 digest of the series UID.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        is_backlog: Whether it was in the PACS before the gateway's first start.
        instances: Number of instances that the PACS counts; None if it does not.
        listed: Number of instances that it listed, if that was another one.
        changed: Time of the last change of the number of instances, or of a dead letter its time, in Unix seconds.
        queued: Time at which it was complete, in Unix seconds.
        failures: Attempts that failed since then.
        rejections: Those among them whose reason lies in the series.
        service_failures: Those among them at which the service failed though it was ready just before.
        version: Version of the model behind its results; None before the prediction.
        sources: Digest of the instances behind `answer`.
        answer: The service's response, compressed JSON; None before the prediction.
        code: Code of a dead letter.
        reason: Its reason.
    """

    key: str
    study_uid: str
    series_uid: str
    is_backlog: bool
    instances: int | None
    listed: int | None
    changed: float
    queued: float
    failures: int
    rejections: int
    service_failures: int
    version: str | None
    sources: str | None
    answer: bytes | None
    code: str | None
    reason: str | None


def digest(*uids: str) -> str:
    """Return a SHA-256 digest of UIDs in their order."""
    return hashlib.sha256("\n".join(uids).encode()).hexdigest()
