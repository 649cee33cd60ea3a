"""List the files below a folder, without those that belong to no dataset."""

import os
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from brain_tumor.errors import InputError
from components.ingest.class_names import fold_case
from components.ingest.reading import escape_non_utf8

# Files and folders of macOS, Windows, Linux and network storage.
SYSTEM_NAMES = {
    *("__macosx", "icon\r", "icon\uf00d", "network trash folder", "temporary items"),
    *("$recycle.bin", "recycler", "recycled", "system volume information", "found.000"),
    *("desktop.ini", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db"),
    "lost+found",
    *("@eadir", "@tmp", "@recycle", "#recycle", "#snapshot"),
}

Folder = tuple[PurePosixPath, list[Path]]


def walk(folder: Path, ignore_folders: Collection[str], unwritten: Collection[Path] = ()) -> tuple[list[Folder], dict[str, int]]:
    """List every visible folder below `folder` with its files; follow each link to a folder once.

    Args:
        folder: Folder to list.
        ignore_folders: Names of folders to leave out, at any depth.
        unwritten: Paths below `folder` to list like files, although the file system rejects their names.

    Returns:
        The folders, relative to `folder`, and the number of files in the folders left out, by name.

    Raises:
        InputError: A folder cannot be read.
    """

    def reject(error: OSError) -> None:
        name = escape_non_utf8(str(Path(error.filename).relative_to(folder)))
        raise InputError(f"source: cannot read its folder {name!r}: {error.strerror}") from None

    seen: set[tuple[int, int]] = set()
    found: dict[PurePosixPath, list[Path]] = {}
    ignored = {fold_case(name): name for name in ignore_folders}
    left_out = dict.fromkeys(ignore_folders, 0)
    for place, inner, files in os.walk(folder, followlinks=True, onerror=reject):
        here, status = Path(place), os.stat(place)
        inner[:] = sorted(entry for entry in inner if not is_hidden(entry))
        if (status.st_dev, status.st_ino) in seen:
            inner.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in [entry for entry in inner if fold_case(entry) in ignored]:
            inner.remove(entry)
            left_out[ignored[fold_case(entry)]] += sum(len(each) for _, _, each in os.walk(here / entry))
        found[PurePosixPath(here.relative_to(folder))] = [here / entry for entry in sorted(files) if not is_hidden(entry)]
    for file in unwritten:
        inside = PurePosixPath(file.relative_to(folder))
        outer = next((part for part in inside.parent.parts if fold_case(part) in ignored), None)
        if outer:
            left_out[ignored[fold_case(outer)]] += 1
        elif not any(map(is_hidden, inside.parts)):
            found.setdefault(inside.parent, []).append(file)
    return list(found.items()), left_out


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or belongs to an operating system or a storage device."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES
