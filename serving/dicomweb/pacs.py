"""The PACS over DICOMweb: QIDO-RS, WADO-RS and STOW-RS (DICOM PS3.18)."""

import itertools
import uuid
from collections.abc import Iterator
from datetime import date
from email.message import Message
from typing import Any, NamedTuple
from urllib.parse import quote

import requests.auth

from serving.dicomweb.errors import StepError
from serving.dicomweb.http import MAX_JSON_BYTES, BearerToken, HttpClient, Response, check_status
from serving.dicomweb.series import Found
from serving.dicomweb.settings import Settings

PAGE = 500  # series or instances that one query asks for
MAX_PAGES = 20_000
MAX_INSTANCE_BYTES = 64 * 2**20
STUDY_UID, SERIES_UID, INSTANCE_UID = "0020000D", "0020000E", "00080018"
SERIES_INSTANCES, INSTANCE_NUMBER, FRAMES = "00201209", "00200013", "00280008"
FAILED, REFERENCED, FAILURE_REASON = "00081198", "00081199", "00081197"
JSON, DICOM = "application/dicom+json", "application/dicom"
MULTIPART = f'multipart/related; type="{DICOM}"'
# Failure reasons of STOW-RS (DICOM PS3.18 10.5.3, PS3.4 B.2.3).
DUPLICATE = 0x0111
OF_THE_DATA = (0x0117, 0x0122, *range(0xA900, 0xAA00), *range(0xC000, 0xD000))


class Instance(NamedTuple):
    """An instance as the PACS lists it; `frames` is 1 if it is not stated. In the order of their numbers."""

    number: int
    uid: str
    frames: int


class Pacs:
    """A client of the PACS. Every method raises `StepError`."""

    def __init__(self, settings: Settings):
        auth: requests.auth.AuthBase | None = None
        if settings.dicomweb_token:
            auth = BearerToken(settings.dicomweb_token)
        elif settings.dicomweb_user:
            auth = requests.auth.HTTPBasicAuth(settings.dicomweb_user.encode(), settings.dicomweb_password.encode())
        self._http = HttpClient(settings.dicomweb_url, auth, settings.dicomweb_ca)

    def mr_series(self, since: date | None = None) -> Iterator[list[Found]]:
        """Generate the MR series in pages.

        Args:
            since: First date of the studies; None for all.
        """
        params = {"Modality": "MR", "includefield": SERIES_INSTANCES}
        if since:
            params["StudyDate"] = f"{since:%Y%m%d}-"
        for page in self._pages("query", "/series", params, SERIES_UID):
            uids = [(_value(entry, STUDY_UID), _value(entry, SERIES_UID), _number(entry, SERIES_INSTANCES)) for entry in page]
            yield [Found(str(study), str(series), count) for study, series, count in uids if study and series]

    def instances(self, study_uid: str, series_uid: str) -> list[Instance]:
        """Return the instances of a series; none if it is not there."""
        path = f"{_series(study_uid, series_uid)}/instances"
        try:
            entries = list(itertools.chain(*self._pages("fetch", path, {"includefield": FRAMES}, INSTANCE_UID)))
        except StepError as error:
            if error.code == "not_found":
                return []
            raise
        return sorted(
            Instance(_number(entry, INSTANCE_NUMBER) or 0, str(_value(entry, INSTANCE_UID)), max(_number(entry, FRAMES) or 1, 1))
            for entry in entries
        )

    def fetch(self, study_uid: str, series_uid: str, instance_uid: str) -> bytes:
        """Return the file of an instance, in the transfer syntax in which the PACS has it."""
        path = f"{_series(study_uid, series_uid)}/instances/{quote(instance_uid, safe='')}"
        accept = {"Accept": f"{MULTIPART}; transfer-syntax=*"}
        try:
            response = self._http.request("fetch", "GET", path, limit_bytes=MAX_INSTANCE_BYTES, headers=accept)
            check_status("fetch", response)
        except StepError as error:
            error.is_permanent |= error.code in ("not_found", "too_large")  # though it is listed
            raise
        return _first_part(response)

    def store(self, study_uid: str, file: bytes) -> None:
        """Store an instance in a study. One that is there already counts as stored."""
        boundary = uuid.uuid4().hex
        head, tail = f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n", f"\r\n--{boundary}--\r\n"
        headers = {"Content-Type": f"{MULTIPART}; boundary={boundary}", "Accept": JSON}
        path, body = f"/studies/{quote(study_uid, safe='')}", head.encode() + file + tail.encode()
        response = self._http.request("store", "POST", path, headers=headers, body=body)
        reasons = _failures(response) if response.status in (200, 202, 400, 409) else []
        if not reasons:
            check_status("store", response)
            return
        if set(reasons) != {DUPLICATE}:
            message = "the PACS does not store it, reason " + ", ".join(f"{reason:04X}" for reason in reasons)
            raise StepError("store", "rejected", message, is_permanent=set(reasons) <= set(OF_THE_DATA))

    def _pages(self, step: str, path: str, params: dict[str, str], uid_tag: str) -> Iterator[list[dict[str, Any]]]:
        """Generate the pages of a query until one has nothing new: a server may return less than it is asked for."""
        seen: set[Any] = set()
        for _ in range(MAX_PAGES):
            page = self._query(step, path, {**params, "limit": PAGE, "offset": len(seen)})
            new = {str(uid): entry for entry in page if (uid := _value(entry, uid_tag)) and str(uid) not in seen}
            if not new:
                return
            seen.update(new)
            yield list(new.values())

    def _query(self, step: str, path: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        response = self._http.request(step, "GET", path, params=params, headers={"Accept": JSON}, limit_bytes=MAX_JSON_BYTES)
        try:
            check_status(step, response)
        except StepError as error:
            error.is_permanent = False  # nothing in a query comes from an image
            raise
        document = response.json(step)
        if document is None and response.status == 204:
            return []
        if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
            raise StepError(step, "invalid_answer", "the response is no list of DICOM JSON objects")
        return document


def _series(study_uid: str, series_uid: str) -> str:
    return f"/studies/{quote(study_uid, safe='')}/series/{quote(series_uid, safe='')}"


def _value(entry: dict[str, Any], tag: str) -> Any:
    """Return the first value of an attribute in DICOM JSON; None if there is none."""
    try:
        value = entry[tag]["Value"][0]
    except (KeyError, IndexError, TypeError):
        return None
    return value if isinstance(value, str | int | float) else None


def _number(entry: dict[str, Any], tag: str) -> int | None:
    try:
        return int(_value(entry, tag))
    except (TypeError, ValueError, OverflowError):
        return None


def _failures(response: Response) -> list[int]:
    """Return the reasons why instances were not stored (DICOM PS3.18 10.5.3.2)."""
    try:
        document = response.json("store")
    except StepError:
        return []  # an early PACS responds in XML
    items = (document.get(FAILED) or {}).get("Value") if isinstance(document, dict) else None
    return [_number(item, FAILURE_REASON) or 0 for item in items or [] if isinstance(item, dict)]


def _first_part(response: Response) -> bytes:
    """Return the first part of a multipart response (RFC 2046), or the body of another one."""
    header = Message()
    header["Content-Type"] = response.content_type
    if header.get_content_type() == DICOM:
        return response.body
    boundary = header.get_boundary()
    if header.get_content_maintype() == "multipart" and boundary:
        delimiter = b"--" + boundary.encode()
        start = response.body.find(b"\r\n\r\n", response.body.find(delimiter)) + 4
        end = response.body.find(b"\r\n" + delimiter, start)
        if response.body.find(delimiter) >= 0 and start >= 4 and end >= 0:
            return response.body[start:end]
    raise StepError("fetch", "invalid_answer", "the response has no DICOM file")
