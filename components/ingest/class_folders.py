"""Assign every file the class of its folder, and its lesion mask."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from brain_tumor.classes import NO_TUMOR, SUBTYPES, TUMOR
from brain_tumor.errors import InputError
from brain_tumor.images import ImageError, is_dicom, read_image
from components.ingest.masks import MASKS_FOLDER, Masks, find_mask, mask_key
from components.ingest.reading import LabelledFile, escape_non_utf8, read_file

CLASS_OF_FOLDER = {
    **dict.fromkeys(("yes", "tumor", "tumour"), TUMOR),
    **dict.fromkeys(("no", "notumor", "no_tumor", "healthy", "normal"), NO_TUMOR),
    **{folder: subtype for subtype in SUBTYPES for folder in (subtype, f"{subtype}_tumor")},
}
HIDDEN = {"__macosx", "thumbs.db", "desktop.ini"}

ClassFolders = dict[PurePosixPath, list[Path]]


@dataclass(frozen=True)
class FoundFiles:
    """The files below a folder.

    Attributes:
        files: Files of all classes, sorted by path.
        ignored: Number of files outside the class folders.
        nested_copies: Number of files in dropped nested copies of the dataset.
        empty: Class folders without a file.
        unmatched_masks: Number of files in `masks` folders that are the mask of no file.
    """

    files: list[LabelledFile]
    ignored: int
    nested_copies: int
    empty: list[str]
    unmatched_masks: int


def find_files(folder: Path) -> FoundFiles:
    """Find the files of every class folder below `folder`, at any depth.

    Split folders above the class folders (`Training/`, `Testing/`) are merged and stay in the path. Nested copies of the
    dataset, hidden folders and empty folders are dropped, so a folder and an archive of it give the same paths.
    A `masks` folder is no class folder: its files are the masks of the images in the class folders beside it, as
    `masks/<file name>` or `masks/<class folder>/<file name>`, with any extension and with or without `_mask` before it.

    Raises:
        InputError: A folder of unknown class contains images, there is no class folder, `tumor` is mixed with its subtypes,
            or two subtypes are the only classes.
    """
    folders = _walk(folder)
    masks = _sort_masks(folders)
    class_folders, outside = _sort_folders((inner, files) for inner, files in folders if _masks_folder(inner) is None)
    _reject_unknown_folders(outside, class_folders)
    filled = {class_folder: files for class_folder, files in class_folders.items() if files}
    kept = _drop_nested_copies(filled)
    _reject_mixed_labels({_label_of(class_folder) for class_folder in kept})
    base = folder / os.path.commonpath([class_folder.parent for class_folder in kept]) if kept else folder
    found = [
        LabelledFile(
            file,
            escape_non_utf8(file.relative_to(base).as_posix()),
            _label_of(inner),
            find_mask(masks[inner.parent], PurePosixPath(file.relative_to(folder / inner.parent))),
        )
        for inner, files in kept.items()
        for file in files
    ]
    dropped = {class_folder.parent for class_folder in filled} - {class_folder.parent for class_folder in kept}
    mask_files = {mask for root in masks if root not in dropped for mask in masks[root].values()}
    return FoundFiles(
        files=sorted(found, key=lambda item: item.path),
        ignored=sum(map(len, outside.values())),
        nested_copies=sum(map(len, filled.values())) - len(found),
        empty=sorted(escape_non_utf8(str(class_folder)) for class_folder in class_folders if class_folder not in filled),
        unmatched_masks=len(mask_files - {item.mask for item in found}),
    )


def _masks_folder(folder: PurePosixPath) -> PurePosixPath | None:
    """Return the outermost `masks` folder among `folder` and its parents."""
    return next((part for part in (*reversed(folder.parents), folder) if _normalise(part.name) == MASKS_FOLDER), None)


def _sort_masks(folders: list[tuple[PurePosixPath, list[Path]]]) -> dict[PurePosixPath, Masks]:
    """Return the masks by the folder that contains their `masks` folder."""
    masks: dict[PurePosixPath, Masks] = defaultdict(dict)
    for folder, files in folders:
        if masks_folder := _masks_folder(folder):
            for file in files:
                path = folder.relative_to(masks_folder) / file.name
                masks[masks_folder.parent][str(path)] = file
                masks[masks_folder.parent].setdefault(mask_key(path), file)
    return masks


def _sort_folders(folders: Iterable[tuple[PurePosixPath, list[Path]]]) -> tuple[ClassFolders, ClassFolders]:
    """Return the class folders, each with the files at any depth below it, and the folders outside them."""
    class_folders: ClassFolders = defaultdict(list)
    outside: ClassFolders = {}
    for folder, files in folders:
        class_folder = _find_class_folder(folder)
        if class_folder is None:
            outside[folder] = files
        else:
            class_folders[class_folder].extend(files)
    return class_folders, outside


def _walk(folder: Path) -> list[tuple[PurePosixPath, list[Path]]]:
    """List every visible folder, relative to `folder`, with its files; follow each link to a folder once."""
    found, seen = [], set()
    for name, inner, files in os.walk(folder, followlinks=True, onerror=_reject_unreadable):
        here, status = Path(name), os.stat(name)
        inner[:] = sorted(entry for entry in inner if not _is_hidden(entry))
        if (status.st_dev, status.st_ino) in seen:
            inner.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        visible = [here / entry for entry in sorted(files) if not _is_hidden(entry)]
        found.append((PurePosixPath(here.relative_to(folder)), visible))
    return found


def _reject_unreadable(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot read the folder: {error.strerror}") from error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in HIDDEN


def _find_class_folder(folder: PurePosixPath) -> PurePosixPath | None:
    """Return the innermost class folder among `folder` and its parents."""
    return next((part for part in (folder, *folder.parents) if _normalise(part.name) in CLASS_OF_FOLDER), None)


def _normalise(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _label_of(class_folder: PurePosixPath) -> str:
    return CLASS_OF_FOLDER[_normalise(class_folder.name)]


def _reject_unknown_folders(outside: ClassFolders, class_folders: ClassFolders) -> None:
    unknown = [str(inner) for inner, files in outside.items() if any(map(_is_image, files))]
    if not unknown and class_folders:
        return
    found = ", ".join(sorted({folder.name for folder in class_folders})) or "none"
    known = ", ".join(CLASS_OF_FOLDER)
    shown = ", ".join(["the top folder" if name == "." else repr(name) for name in unknown[:10]])
    problem = f"unknown class folder with images: {shown}" if unknown else "no class folder"
    raise InputError(f"{problem}; class folders found: {found}; known names: {known}")


def _is_image(file: Path) -> bool:
    try:
        data = read_file(file)
    except ImageError:
        return False
    try:
        read_image(data)
    except ImageError as error:
        return error.code not in ("not_an_image", "unsupported_type") or is_dicom(data)
    return True


def _reject_mixed_labels(labels: set[str]) -> None:
    subtypes = sorted(labels & set(SUBTYPES))
    if TUMOR in labels and subtypes:
        raise InputError(f"classes: got both `{TUMOR}` and its subtypes {', '.join(subtypes)}, expected one or the other")
    if len(subtypes) == len(labels) == 2:
        raise InputError(
            f"classes: got {' and '.join(subtypes)}, expected `{NO_TUMOR}` as one of two classes; add it or a third class"
        )


def _drop_nested_copies(class_folders: ClassFolders) -> ClassFolders:
    """Drop the class folders of a root if another root above or below it contains all their files."""
    roots: dict[PurePosixPath, ClassFolders] = defaultdict(dict)
    for class_folder, files in class_folders.items():
        roots[class_folder.parent][class_folder] = files
    for root in sorted(roots, key=lambda root: (-len(root.parts), root)):
        related = [other for other in roots if root in other.parents or other in root.parents]
        if any(_content_hashes(roots[root]) <= _content_hashes(roots[other]) for other in related):
            del roots[root]
    return {class_folder: files for root in roots.values() for class_folder, files in root.items()}


def _content_hashes(class_folders: ClassFolders) -> set[tuple[str, str]]:
    return {(_label_of(class_folder), _file_hash(file)) for class_folder, files in class_folders.items() for file in files}


def _file_hash(file: Path) -> str:
    try:
        return hashlib.sha256(read_file(file)).hexdigest()
    except ImageError:
        return str(file)
