"""Fetch a source (a folder, an archive or a URI) into a local folder."""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from brain_tumor.errors import InputError
from components.ingest.archives import CHUNK_BYTES, MAX_MEMBERS, MAX_UNPACKED_BYTES, is_archive, safe_member_path, unpack
from components.ingest.download_errors import describe_error
from components.ingest.reading import escape_non_utf8
from components.ingest.synthetic import write_phantoms
from components.uris import is_local_path, redact_credentials
from components.values import UNPRINTABLE

PHANTOM_DEFAULTS = {"n": 400, "seed": 0}
MIN_PHANTOMS, MAX_PHANTOMS = 10, 100_000


@dataclass(frozen=True)
class Source:
    """A source in a local folder.

    Attributes:
        folder: Folder to search for class folders.
        name: Source as the user gave it, without credentials and without the parents of a local path.
        synthetic: Whether the images are phantoms.
        unwritten: Paths below `folder` of an archive's files whose names are too long to write.
    """

    folder: Path
    name: str
    synthetic: bool = False
    unwritten: tuple[Path, ...] = ()


def fetch(source: str, scratch: Path) -> Source:
    """Return the local folder of `source`; downloaded, unpacked and generated files go to `scratch`.

    Raises:
        InputError: The source does not exist, cannot be read, or has an unknown URI scheme.
    """
    if not source.strip():
        raise InputError("source: got an empty value, expected a folder, an archive or a URI")
    try:
        return _fetch(source, scratch)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # an unknown user, a path too long, a malformed URI
        raise InputError(f"source: cannot read {redact_credentials(source)[:200]}: {describe_error(error)}") from None


def _fetch(source: str, scratch: Path) -> Source:
    if is_local_path(source):
        return _fetch_local(Path(source) if Path(source).exists() else Path(source).expanduser(), scratch)
    scheme = source.partition("://")[0]
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise InputError(f"source: got {scheme}://, expected a folder, a .zip or .tar file, or one of {known}")
    return SCHEMES[scheme](source, scratch)


def _fetch_local(path: Path, scratch: Path) -> Source:
    if not path.exists():
        raise InputError(f"source: no such folder or archive: {path}")
    name = UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], escape_non_utf8(path.resolve().name))
    return Source(path, name) if path.is_dir() else _unpack(path, scratch, archive_name=path.name, name=name)


def _unpack(archive: Path, scratch: Path, *, archive_name: str, name: str) -> Source:
    if not is_archive(archive):
        raise InputError(f"source: got {archive_name}, expected a folder, or a zip or tar archive")
    print("ingest: unpacking the archive", flush=True)
    folder = scratch / "unpacked"
    return Source(folder, name, unwritten=tuple(unpack(archive, folder, name=archive_name)))


def _fetch_synthetic(source: str, scratch: Path) -> Source:
    """Generate the phantoms of a URI such as `synthetic://?n=400&seed=0`."""
    uri = urlsplit(source)
    given = dict(parse_qsl(uri.query, keep_blank_values=True))
    if uri.netloc or uri.path or set(given) - set(PHANTOM_DEFAULTS) or not all(value.isdecimal() for value in given.values()):
        raise InputError(f"source: got {source}, expected synthetic:// or synthetic://?n=400&seed=0 with integers")
    settings = PHANTOM_DEFAULTS | {key: int(value) for key, value in given.items()}
    if not MIN_PHANTOMS <= settings["n"] <= MAX_PHANTOMS:
        raise InputError(f"source: got n={settings['n']}, expected {MIN_PHANTOMS} to {MAX_PHANTOMS:,} phantoms")
    folder = scratch / "phantoms"
    write_phantoms(folder, n=settings["n"], seed=settings["seed"])
    return Source(folder, f"synthetic://?n={settings['n']}&seed={settings['seed']}", synthetic=True)


def _fetch_kaggle(source: str, _scratch: Path) -> Source:
    handle = source.removeprefix("kaggle://").strip("/")
    if not re.fullmatch(r"[\w-]+/[\w-]+(/versions/\d+)?", handle):
        raise InputError(f"source: got {source}, expected kaggle://owner/name")
    print("ingest: downloading from Kaggle", flush=True)
    try:
        import kagglehub

        return Source(Path(kagglehub.dataset_download(handle)), f"kaggle://{handle}")
    except Exception as error:  # requests, kagglehub and the archive each have their own errors
        raise InputError(f"source: cannot download kaggle://{handle}: {describe_error(error)}") from None


def _fetch_remote(source: str, scratch: Path) -> Source:
    uri = urlsplit(source)
    name = f"{uri.scheme}://{uri.hostname or ''}{uri.path}"
    target = scratch / "download"
    try:
        import fsspec

        files, path = fsspec.core.url_to_fs(source)
        if uri.scheme not in ("http", "https") and files.isdir(path):
            return Source(_download_folder(files, path, target), name)
        _download_file(files, path, target, MAX_UNPACKED_BYTES)
    except InputError:
        raise
    except Exception as error:  # each fsspec protocol has its own errors
        raise InputError(f"source: cannot download {redact_credentials(source)}: {describe_error(error)}") from None
    return _unpack(target, scratch, archive_name=posixpath.basename(uri.path) or "archive", name=name)


def _download_folder(files: Any, prefix: str, folder: Path) -> Path:
    found = {key: info["size"] for key, info in files.find(prefix, detail=True).items() if not key.endswith("/")}
    if len(found) > MAX_MEMBERS or sum(found.values()) > MAX_UNPACKED_BYTES:
        raise InputError(f"source: got more data, expected at most {MAX_MEMBERS:,} files and {MAX_UNPACKED_BYTES:,} bytes")
    print(f"ingest: downloading {len(found):,} files, {sum(found.values()) / 1e6:,.0f} MB", flush=True)
    targets = [safe_member_path(folder, key.removeprefix(prefix).lstrip("/"), "source") for key in found]
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
                raise InputError(f"source: got more data, expected at most {limit:,} bytes")


SCHEMES: dict[str, Callable[[str, Path], Source]] = {
    "s3": _fetch_remote,
    "gs": _fetch_remote,
    "https": _fetch_remote,
    "http": _fetch_remote,
    "kaggle": _fetch_kaggle,
    "synthetic": _fetch_synthetic,
}
