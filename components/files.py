"""Atomic writes of files and folders, and locks of files."""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` at the end, remove it on an error.

    The caller creates a file or a folder there. An existing folder at `path` is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    remove(partial)
    try:
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        partial.rename(path)
    finally:
        remove(partial)


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[int | None]:
    """Lock a file until the block ends and no process has the file descriptor any more.

    Yields:
        The file descriptor, for processes that shall share the lock; None if the file is locked already.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


def check_writable(folder: Path) -> None:
    """Raise OSError, with its name, if a folder cannot be made or nothing can be written to it."""
    existing = existing_folder(folder)
    if not os.access(existing, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(existing).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(number, os.strerror(number), str(folder))


def existing_folder(path: Path) -> Path:
    """Return the folder at or above a path that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if os.path.isdir(folder))


def partial_path(path: Path) -> Path:
    """Return the temporary path of `atomic_write`; what a killed process left there is deleted by the next one."""
    return path.with_name(f".{path.name}.partial")


def remove(path: Path) -> None:
    """Delete a file or a folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
