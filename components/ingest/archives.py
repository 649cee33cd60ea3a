"""Unpack an untrusted archive: no path leaves the folder, and size and member count have limits."""

import errno
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from brain_tumor.errors import InputError
from components.errors import FULL, describe_disk_error

MAX_MEMBERS = 200_000
MAX_UNPACKED_BYTES = 50 * 2**30
CHUNK_BYTES = 2**20

DAMAGE_ERRORS = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, NotImplementedError)
READABLE_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
# The other methods of APPNOTE.TXT 4.4.5 in use.
METHOD_NAMES = {
    **dict.fromkeys((2, 3, 4, 5), "Reduce"),
    **dict(zip((1, 6, 9, 93, 95), ("Shrink", "Implode", "Deflate64", "Zstandard", "XZ"), strict=True)),
    **dict(zip((96, 97, 98, 99), ("JPEG", "WavPack", "PPMd", "AES encryption"), strict=True)),
}

Member = tuple[str, bool, IO[bytes]]


def is_archive(path: Path) -> bool:
    """Return whether the content of `path` is a zip or a tar (plain, gzip, bzip2 or xz)."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(
    archive: Path, folder: Path, *, name: str = "", max_bytes: int = MAX_UNPACKED_BYTES, max_members: int = MAX_MEMBERS
) -> list[Path]:
    """Unpack the files of a zip or tar into `folder`, streaming. A second member of one name gets a number: `1 (2).png`.

    Args:
        archive: Archive to unpack.
        folder: Folder to write.
        name: Name of the archive for errors; its file name if empty.
        max_bytes: Maximum number of unpacked bytes.
        max_members: Maximum number of members.

    Returns:
        The paths of files that are not written, because their names are too long.

    Raises:
        InputError: The archive is empty, damaged, encrypted or compressed by an unknown method, a member is a link or a device, a
            member's path leaves the folder, or there are more members or bytes than the maximum.
    """
    # Not shutil.unpack_archive or tarfile's `data` filter: they limit neither size nor count, and they keep links.
    name = name or archive.name
    open_members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    unwritten: list[Path] = []
    uses: Counter[Path] = Counter()
    remaining_bytes = max_bytes
    try:
        for member, is_link, stream in open_members(archive, name, max_members):
            if is_link:
                raise InputError(f"{name}: got a link or a device, expected files and folders only")
            target = safe_member_path(folder, member, name)
            try:
                remaining_bytes -= _write(stream, _unused_path(target, uses), remaining_bytes)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                unwritten.append(target)
            if remaining_bytes < 0:
                raise InputError(f"{name}: got more data, expected at most {max_bytes:,} bytes unpacked")
    except InputError:
        raise
    except OSError as error:  # its text contains the member's name, which may identify a patient
        full = describe_disk_error(error, folder) if error.errno in FULL else None
        raise InputError(f"{name}: cannot unpack: {full or error.strerror or type(error).__name__}") from None
    except DAMAGE_ERRORS as error:
        raise InputError(f"{name}: cannot unpack, the archive is damaged: {type(error).__name__}") from None
    except RuntimeError as error:  # zipfile raises it for a missing password
        raise InputError(f"{name}: got an encrypted archive, expected one without a password") from error
    if not uses:
        raise InputError(f"{name}: the archive is empty, expected class folders with images")
    return unwritten


def safe_member_path(folder: Path, name: str, source: str) -> Path:
    """Return the path of member `name` in `folder`; `source` names the archive in the error.

    Raises:
        InputError: The member's path is absolute or leaves the folder.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise InputError(f"{source}: got a path that leaves the folder, expected relative paths without ..")
    return folder.joinpath(*path.parts)


def _zip_members(archive: Path, name: str, max_members: int) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        members = [member for member in opened.infolist() if not member.is_dir()]
        _check_count(len(opened.infolist()), name, max_members)
        for method in {member.compress_type for member in members if not member.flag_bits & 1} - READABLE_METHODS:
            raise InputError(
                f"{name}: got compression method {method} ({METHOD_NAMES.get(method, 'unknown')}), expected a zip with Deflate "
                "(method 8); unpack the archive and give its folder, or pack it again as zip or tar"
            )
        for member in members:
            with opened.open(member) as stream:
                yield member.filename, stat.S_ISLNK(member.external_attr >> 16), stream


def _tar_members(archive: Path, name: str, max_members: int) -> Iterator[Member]:
    with tarfile.open(archive, "r|*") as opened:
        for count, member in enumerate(opened, start=1):
            _check_count(count, name, max_members)
            if not member.isdir():
                yield member.name, not member.isreg(), (member.isreg() and opened.extractfile(member)) or io.BytesIO()


def _check_count(count: int, name: str, max_members: int) -> None:
    if count > max_members:
        raise InputError(f"{name}: got more members, expected at most {max_members:,}")


def _unused_path(path: Path, uses: Counter[Path]) -> Path:
    """Return `path`, with a number if there is a file; `uses` counts the uses of each path."""
    while True:
        uses[path] += 1
        numbered = path.with_name(f"{path.stem} ({uses[path]}){path.suffix}") if uses[path] > 1 else path
        if not numbered.exists():
            return numbered


def _write(stream: IO[bytes], target: Path, limit: int) -> int:
    """Copy `stream` to `target` until just above `limit` bytes; return the number of bytes written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("wb") as file:
        while written <= limit and (chunk := stream.read(CHUNK_BYTES)):
            written += file.write(chunk)
    return written
