"""Unpack an untrusted archive: no path leaves the folder, and size and member count have limits."""

import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from brain_tumor.errors import InputError

MAX_MEMBERS = 200_000
MAX_UNPACKED_BYTES = 50 * 2**30
CHUNK_BYTES = 2**20

DAMAGE_ERRORS = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, NotImplementedError)

Member = tuple[str, bool, IO[bytes]]


def is_archive(path: Path) -> bool:
    """Return whether the content of `path` is a zip or a tar (plain, gzip, bzip2 or xz)."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(archive: Path, folder: Path, *, max_bytes: int = MAX_UNPACKED_BYTES, max_members: int = MAX_MEMBERS) -> None:
    """Unpack the files of a zip or tar into `folder`, streaming.

    Raises:
        InputError: The archive is damaged or encrypted, a member is a link or a device, a member's path leaves the folder,
            or there are more than `max_members` members or `max_bytes` unpacked bytes.
    """
    # Not shutil.unpack_archive or tarfile's `data` filter: they limit neither size nor count, and they keep links.
    open_members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    remaining_bytes = max_bytes
    try:
        for name, is_link, stream in open_members(archive, max_members):
            if is_link:
                raise InputError(f"{archive.name}: got a link or a device, expected files and folders only")
            remaining_bytes -= _write(stream, safe_member_path(folder, name, archive.name), remaining_bytes)
            if remaining_bytes < 0:
                raise InputError(f"{archive.name}: got more data, expected at most {max_bytes:,} bytes unpacked")
    except InputError:
        raise
    except OSError as error:  # its text contains the member's name, which may identify a patient
        raise InputError(f"{archive.name}: cannot unpack: {error.strerror or type(error).__name__}") from None
    except DAMAGE_ERRORS as error:
        raise InputError(f"{archive.name}: cannot unpack, the archive is damaged: {type(error).__name__}") from None
    except RuntimeError as error:  # zipfile raises it for a missing password
        raise InputError(f"{archive.name}: got an encrypted archive, expected one without a password") from error


def safe_member_path(folder: Path, name: str, source: str) -> Path:
    """Return the path of member `name` in `folder`; `source` names the archive in the error.

    Raises:
        InputError: The member's path is absolute or leaves the folder.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise InputError(f"{source}: got a path that leaves the folder, expected relative paths without ..")
    return folder.joinpath(*path.parts)


def _zip_members(archive: Path, max_members: int) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        _check_count(len(opened.infolist()), archive, max_members)
        for member in opened.infolist():
            if not member.is_dir():
                with opened.open(member) as stream:
                    yield member.filename, stat.S_ISLNK(member.external_attr >> 16), stream


def _tar_members(archive: Path, max_members: int) -> Iterator[Member]:
    with tarfile.open(archive, "r|*") as opened:
        for count, member in enumerate(opened, start=1):
            _check_count(count, archive, max_members)
            if not member.isdir():
                yield member.name, not member.isreg(), (member.isreg() and opened.extractfile(member)) or io.BytesIO()


def _check_count(count: int, archive: Path, max_members: int) -> None:
    if count > max_members:
        raise InputError(f"{archive.name}: got more members, expected at most {max_members:,}")


def _write(stream: IO[bytes], target: Path, limit: int) -> int:
    """Copy `stream` to `target` until just above `limit` bytes; return the number of bytes written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("wb") as file:
        while written <= limit and (chunk := stream.read(CHUNK_BYTES)):
            written += file.write(chunk)
    return written
