"""A folder for the images and temporary files of a command, which do not outlive it."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from brain_tumor.errors import InputError
from components.files import file_lock, remove

SCRATCH = "scratch"


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[tuple[Path, int]]:
    """Make a folder of temporary files, `scratch` in the folder of a command; delete it at the end.

    First delete what killed commands left in the folders beside: temporary files and partial results. A folder without results
    is deleted, too.

    Args:
        folder: Folder of the command's results.

    Yields:
        The folder of temporary files, and the file descriptor of its lock.

    Raises:
        InputError: A command that is in progress uses the same folder.
    """
    scratch = folder.resolve() / SCRATCH
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with (folder.parent / ".lock").open("w") as others:
            fcntl.flock(others, fcntl.LOCK_EX)
            for left in folder.parent.glob(f"*/{SCRATCH}"):
                _delete_if_killed(left)
            if scratch.exists():
                raise InputError(f"{folder}: another command that writes to it is in progress; wait for it")
            scratch.mkdir(parents=True)
            lock = stack.enter_context(file_lock(scratch / ".lock"))
            assert lock is not None
        stack.callback(_delete, scratch)
        stack.enter_context(_temporary_files_in(scratch))
        yield scratch, lock


def _delete_if_killed(scratch: Path) -> None:
    with file_lock(scratch / ".lock") as lock:
        if lock is not None:
            for partial in list(scratch.parent.rglob(".*.partial")):
                remove(partial)
            _delete(scratch)
            print(f"deleted the temporary files of {scratch.parent}, whose command was killed", flush=True)


def _delete(scratch: Path) -> None:
    shutil.rmtree(scratch)
    if not any(scratch.parent.iterdir()):
        scratch.parent.rmdir()


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let the temporary files of this process and of its children be in a folder."""
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = None
        os.environ.pop("TMPDIR")
        if before is not None:
            os.environ["TMPDIR"] = before
