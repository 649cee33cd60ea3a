"""The digests of all files of a registered version, in the format of `sha256sum`."""

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from brain_tumor.errors import InputError

FILE_DIGESTS = Path("assets.extra") / "files.sha256"
UNCHECKED = f"no {FILE_DIGESTS}, as in an early model or before registration: its files cannot be checked"
LINE = re.compile(r"([0-9a-f]{64}) [ *]([^\x00-\x1f\x7f]+)")
MAX_NAMED = 10


class DamagedModelError(InputError):
    """The files of a version are not those that were registered. The message names each by its path in the version's folder."""


def write_file_digests(model_dir: Path) -> None:
    """Write the SHA-256 of every file of a version; `sha256sum -c assets.extra/files.sha256` in its folder checks them.

    Raises:
        InputError: See `hash_files`.
    """
    (model_dir / FILE_DIGESTS).write_text(_lines(hash_files(model_dir)), encoding="utf-8")


def hash_files(model_dir: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a version but that of the digests, by its path in the version's folder.

    Raises:
        InputError: A file cannot be read, or its name has a backslash or a character that cannot be printed.
    """
    digests = {}
    for name in sorted(_files(model_dir)):
        if "\\" in name or not name.isprintable():
            raise InputError(f"{name!a}: expected a file name of printable characters without a backslash")
        if problem := _not_a_file(model_dir / name):
            raise InputError(f"{name} {problem}")
        try:
            digests[name] = _sha256(model_dir / name)
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}") from error
    return digests


def model_digest(digests: Mapping[str, str]) -> str:
    """Return the digest of a whole version, the SHA-256 of its `files.sha256`, from the digests of all other files."""
    return hashlib.sha256(_lines(digests).encode()).hexdigest()


def check_model_digest(model_dir: Path, expected: str, name: str) -> None:
    """Compare a version with the digest of the version that was verified; an early model's is computed in the same way.

    Args:
        model_dir: Folder of one version.
        expected: See `model_digest`.
        name: What an error calls the version, such as `version 3`.

    Raises:
        DamagedModelError: It is another version, or a file cannot be read.
    """
    try:
        digest = model_digest(hash_files(model_dir))
    except InputError as error:
        raise DamagedModelError(f"{name} is damaged: {error}") from error
    if digest != expected:
        raise DamagedModelError(f"{name} is not the one that was verified: got the digest {digest}, expected {expected}")


def check_file_digests(model_dir: Path, name: str) -> int | None:
    """Compare the files of a version with the digests that register has written.

    Args:
        model_dir: Folder of one version.
        name: What an error calls the version, such as `version 3`.

    Returns:
        The number of files; None if the version has no digests (see `UNCHECKED`).

    Raises:
        DamagedModelError: A file was changed, removed or added, cannot be read, or the digests themselves are damaged.
    """
    if not os.path.lexists(model_dir / FILE_DIGESTS):
        return None
    try:
        digests = _read(model_dir / FILE_DIGESTS)
    except ValueError as error:
        raise DamagedModelError(f"{name} is damaged: {FILE_DIGESTS} {error}") from None
    except OSError as error:
        raise DamagedModelError(f"{name} is damaged: {FILE_DIGESTS} cannot be read: {error.strerror}") from error
    problems = [
        f"{_shown(path)} {problem}" for path, digest in digests.items() if (problem := _problem(model_dir / path, digest))
    ]
    problems += [f"{_shown(path)} was added" for path in sorted(_files(model_dir)) if not _is_registered(path, digests)]
    if problems:
        more = f"; {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
        raise DamagedModelError(f"{name} is damaged: {'; '.join(problems[:MAX_NAMED])}{more}")
    return len(digests)


def _lines(digests: Mapping[str, str]) -> str:
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))


def _files(model_dir: Path) -> list[str]:
    """Return the paths of all files but that of the digests, relative to the folder; a link to a folder counts as a file."""
    found = []
    for folder, folders, files in os.walk(model_dir):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        found += [Path(folder, name).relative_to(model_dir).as_posix() for name in files + links]
    return [path for path in found if path != FILE_DIGESTS.as_posix()]


def _read(path: Path) -> dict[str, str]:
    """Return the digest of each file; raise ValueError, with the rest of a sentence about `path`, if it is damaged."""
    if problem := _not_a_file(path):
        raise ValueError(problem)
    lines = path.read_bytes().decode("utf-8", "replace").removesuffix("\n").split("\n")
    digests: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line)
        if not match:
            raise ValueError(f"was changed: line {number} is not a SHA-256 and the name of a file")
        name = PurePosixPath(match[2])
        if name.is_absolute() or ".." in name.parts or str(name) != match[2] or name == PurePosixPath(FILE_DIGESTS):
            raise ValueError(f"was changed: line {number} does not name another file of this folder")
        if match[2] in digests:
            raise ValueError(f"was changed: line {number} repeats a file")
        digests[match[2]] = match[1]
    return digests


def _problem(path: Path, digest: str) -> str:
    """Return what is wrong with a file, the rest of a sentence; empty if it has this digest."""
    try:
        if problem := _not_a_file(path):
            return problem
        if _sha256(path) == digest:
            return ""
        return "was changed" if path.stat().st_size else "is empty"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _not_a_file(path: Path) -> str:
    """Return whether a path is missing or no regular file, the rest of a sentence. To open a pipe would wait for its writer."""
    try:
        return "" if stat.S_ISREG(path.stat().st_mode) else "is not a file"
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_registered(path: str, digests: dict[str, str]) -> bool:
    """Check whether a path was registered: a file, or a link in place of the folder of registered files."""
    return path in digests or any(registered.startswith(f"{path}/") for registered in digests)


def _shown(path: str) -> str:
    return path if path.isprintable() else ascii(path)
