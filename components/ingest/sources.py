"""Bring what the user named - a folder, an archive, an address - to a local folder."""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from brain_tumor.errors import InputError
from components.ingest.archives import CHUNK_BYTES, MAX_MEMBERS, MAX_UNPACKED_BYTES, is_archive, safe_member_path, unpack
from components.ingest.reading import printable
from components.ingest.synthetic import MASKS_FOLDER, write_phantoms
from components.uris import is_local_path, redact_credentials

PHANTOMS = {"n": 400, "seed": 0}
MIN_PHANTOMS, MAX_PHANTOMS = 10, 100_000


@dataclass(frozen=True)
class Source:
    """A local folder that holds the data.

    Attributes:
        folder: where class folders are looked for.
        name: what the user named, without credentials and without a local path's parents.
        masks: the folder of lesion masks, of phantoms only.
    """

    folder: Path
    name: str
    masks: Path | None = None

    @property
    def synthetic(self) -> bool:
        return self.masks is not None


def fetch(source: str, scratch: Path) -> Source:
    """Return the local folder of `source`; what has to be downloaded, unpacked or drawn goes to `scratch`.

    Raises:
        InputError: nothing is there, it cannot be read, or the address is of no known kind.
    """
    if not source.strip():
        raise InputError("no source is given: name a folder, an archive or an address")
    try:
        return _fetch(source, scratch)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # no such user, a name too long, an address that is none
        raise InputError(f"cannot read {redact_credentials(source)[:200]}: {_cause(error)}") from None


def _fetch(source: str, scratch: Path) -> Source:
    if is_local_path(source):
        return _local(Path(source).expanduser(), scratch)
    scheme = source.partition("://")[0]
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise InputError(f"unknown kind of address {scheme}://; known are a folder, a .zip or .tar file, {known}")
    return SCHEMES[scheme](source, scratch)


def _local(path: Path, scratch: Path) -> Source:
    if not path.exists():
        raise InputError(f"no such folder or archive: {path}")
    return Source(path if path.is_dir() else _unpacked(path, scratch), printable(path.resolve().name))


def _unpacked(archive: Path, scratch: Path) -> Path:
    if not is_archive(archive):
        raise InputError(f"{archive.name} is neither a folder nor a zip or tar archive")
    print("ingest: unpacking the archive", flush=True)
    unpack(archive, scratch / "unpacked")
    return scratch / "unpacked"


def _synthetic(source: str, scratch: Path) -> Source:
    """Draw phantoms as `synthetic://?n=400&seed=0` says."""
    address = urlsplit(source)
    given = dict(parse_qsl(address.query, keep_blank_values=True))
    if address.netloc or address.path or set(given) - set(PHANTOMS) or not all(value.isdecimal() for value in given.values()):
        raise InputError(f"cannot read {source}: write synthetic:// or synthetic://?n=400&seed=0 with whole numbers")
    wanted = PHANTOMS | {key: int(value) for key, value in given.items()}
    if not MIN_PHANTOMS <= wanted["n"] <= MAX_PHANTOMS:
        raise InputError(f"cannot draw {wanted['n']} phantoms: n is from {MIN_PHANTOMS} to {MAX_PHANTOMS:,}")
    folder = scratch / "phantoms"
    write_phantoms(folder, n=wanted["n"], seed=wanted["seed"])
    return Source(folder, f"synthetic://?n={wanted['n']}&seed={wanted['seed']}", masks=folder / MASKS_FOLDER)


def _kaggle(source: str, _scratch: Path) -> Source:
    handle = source.removeprefix("kaggle://").strip("/")
    if not re.fullmatch(r"[\w-]+/[\w-]+(/versions/\d+)?", handle):
        raise InputError(f"cannot read {source}: write kaggle://owner/name")
    print("ingest: downloading from Kaggle", flush=True)
    try:
        import kagglehub

        return Source(Path(kagglehub.dataset_download(handle)), f"kaggle://{handle}")
    except Exception as error:  # every layer below (requests, Kaggle's client, the archive) has errors of its own
        raise InputError(f"cannot download kaggle://{handle}: {_cause(error)}") from None


def _remote(source: str, scratch: Path) -> Source:
    address = urlsplit(source)
    name = f"{address.scheme}://{address.hostname or ''}{address.path}"
    try:
        import fsspec

        files, path = fsspec.core.url_to_fs(source)
        if address.scheme not in ("http", "https") and files.isdir(path):
            return Source(_download_folder(files, path, scratch / "download"), name)
        archive = scratch / (posixpath.basename(address.path) or "archive")
        _download_file(files, path, archive, MAX_UNPACKED_BYTES)
    except InputError:
        raise
    except Exception as error:  # each of fsspec's protocols has errors of its own
        raise InputError(f"cannot download {name}: {_cause(error)}") from None
    return Source(_unpacked(archive, scratch), name)


def _download_folder(files: Any, prefix: str, folder: Path) -> Path:
    found = {key: info["size"] for key, info in files.find(prefix, detail=True).items() if not key.endswith("/")}
    if len(found) > MAX_MEMBERS or sum(found.values()) > MAX_UNPACKED_BYTES:
        raise InputError(f"too much to download: at most {MAX_MEMBERS:,} files and {MAX_UNPACKED_BYTES:,} bytes")
    print(f"ingest: downloading {len(found):,} files, {sum(found.values()) / 1e6:,.0f} MB", flush=True)
    targets = [safe_member_path(folder, key.removeprefix(prefix).lstrip("/"), "the address") for key in found]
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
    files.get(list(found), [str(target) for target in targets])
    return folder


def _download_file(files: Any, path: str, target: Path, limit: int) -> None:
    print("ingest: downloading the archive", flush=True)
    with files.open(path, "rb") as remote, target.open("wb") as local:
        while chunk := remote.read(CHUNK_BYTES):
            local.write(chunk)
            if local.tell() > limit:
                raise InputError(f"too much to download: at most {limit:,} bytes")


def _cause(error: Exception) -> str:
    """Say what failed in one line without what an address may carry: a password or a signed query."""
    return f"{type(error).__name__}: {redact_credentials(' '.join(str(error).split()))[:300]}"


SCHEMES: dict[str, Callable[[str, Path], Source]] = {
    "s3": _remote,
    "gs": _remote,
    "https": _remote,
    "http": _remote,
    "kaggle": _kaggle,
    "synthetic": _synthetic,
}
