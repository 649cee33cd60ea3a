"""How a step ends on invalid input or on a disk that cannot be written, and what the error says."""

import contextlib
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from brain_tumor.errors import InputError
from components.files import existing_folder

FULL = (errno.ENOSPC, errno.EDQUOT)
# Errors of a disk, each with what to do.
CURES = {
    **dict.fromkeys(FULL, "make room or choose another disk"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable or choose another folder"),
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY), "move away what is in its place"),
    errno.EIO: "check the disk",
}
# The same errors in other texts: of TensorFlow after a path, of h5py, of tracebacks; of SQLite; of an InputError of below.
STRERRORS = {os.strerror(number).lower(): number for number in CURES}
IN_TEXT = re.compile(rf"(?:; |message = '|\[errno \d+\] )({'|'.join(STRERRORS)})|(database or disk is full|the disk is full)")


@contextlib.contextmanager
def exit_on_error(step: str, *folders: str | Path) -> Iterator[None]:
    """Exit with a one-line message instead of a traceback if the step's input is invalid or a disk cannot be written.

    Args:
        step: Name of the step; empty for a command of several.
        folders: Where the step writes; empty ones are left out.
    """
    prefix = f"{step}: " if step else ""
    try:
        yield
    except InputError as error:
        sys.exit(f"{prefix}error: {error}")
    except Exception as error:
        described = describe_disk_error(error, *folders)
        if described is None:
            raise
        sys.exit(f"{prefix}error: {described}")


def describe_disk_error(error: Exception | str, *folders: str | Path) -> str | None:
    """Return one line with the path, the cause and the cure of an error of a disk; None for another error.

    Args:
        error: The error, also of a library that has the text of the system's error in its own, or a line of a traceback.
        folders: Where the failed code writes besides the folder of temporary files. A full disk's error names no path: the
            message names the folder with the least space.
    """
    number = error.errno if isinstance(error, OSError) and error.errno else _number(str(error))
    if number not in CURES:
        return None
    candidates = [existing_folder(Path(folder)) for folder in (*folders, tempfile.gettempdir()) if folder]
    place = _path(error) or candidates[0]
    if number in FULL:
        fullest = min(candidates, key=lambda folder: shutil.disk_usage(folder).free)
        disk = shutil.disk_usage(fullest)
        return f"{fullest}: the disk is full, {_bytes(disk.free)} of {_bytes(disk.total)} are free; {CURES[number]}"
    return f"{place}: {os.strerror(number)}; {CURES[number]}"


@contextlib.contextmanager
def room_for(size: int, folder: Path) -> Iterator[None]:
    """Convert the error of a full disk to an InputError that says how much is missing.

    Args:
        size: Number of bytes that the block writes.
        folder: Where it writes them. Nothing of them may be left there after an error.

    Raises:
        InputError: The disk is full.
    """
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) and error.errno else _number(str(error))
        if number not in FULL:
            raise
        place = existing_folder(folder)
        free = shutil.disk_usage(place).free
        if isinstance(error, InputError) and free >= size:  # of another disk
            raise
        missing = f", {_bytes(size - free)} are missing" if free < size else ""
        needs = f"at least {_bytes(size)} are needed, {_bytes(free)} are free"
        raise InputError(f"{place}: the disk is full, {needs}{missing}; {CURES[errno.ENOSPC]}") from error


def _number(text: str) -> int | None:
    found = IN_TEXT.search(text.lower())
    return found and STRERRORS.get(found[1], errno.ENOSPC)


def _path(error: Exception | str) -> str | None:
    """Return the path that an error names."""
    if isinstance(error, OSError) and error.filename:
        return os.fspath(error.filename) if isinstance(error.filename, (str, os.PathLike)) else None
    named = re.search(r"\[Errno \d+\] [^:]*: '([^']+)'", str(error))
    return named[1] if named else None


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"
