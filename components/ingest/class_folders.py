"""Assign every file the class of its folder, and its lesion mask."""

import hashlib
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from brain_tumor.classes import NO_TUMOR, SUBTYPES, TUMOR
from brain_tumor.dicom import is_dicom
from brain_tumor.errors import ImageError, InputError
from brain_tumor.images import read_image
from components.ingest.class_names import KNOWN_NAMES, class_of_name, combined_label, fold, name_classes
from components.ingest.folder_walk import Folder, walk
from components.ingest.masks import MASKS_FOLDER, Masks, find_mask, mask_key
from components.ingest.reading import LabelledFile, escape_non_utf8, read_file

ClassFolders = dict[PurePosixPath, list[Path]]


@dataclass(frozen=True)
class FoundFiles:
    """The files below a folder.

    Attributes:
        files: Files of all classes, sorted by path.
        ignored: Number of files outside the class folders.
        nested_copies: Number of files in dropped nested copies of the dataset.
        empty: Class folders without a file.
        left_out: Number of files in the folders that the user leaves out, by name.
        unmatched_masks: Number of files in `masks` folders that are the mask of no file.
    """

    files: list[LabelledFile]
    ignored: int
    nested_copies: int
    empty: list[str]
    left_out: dict[str, int]
    unmatched_masks: int


def find_files(folder: Path, *, ignore_folders: Collection[str] = (), unwritten: Collection[Path] = ()) -> FoundFiles:
    """Find the files of every class folder below `folder`, at any depth.

    Split folders above the class folders (`Training/`, `Testing/`) are merged and stay in the path. Nested copies of the
    dataset, hidden folders, those of operating systems and empty folders are dropped, so a folder and an archive of it give the
    same paths. A `masks` folder is no class folder: its files are the masks of the images in the class folders beside it, as
    `masks/<file name>` or `masks/<class folder>/<file name>`, with any extension and with or without `_mask` before it.

    Args:
        folder: Folder to search.
        ignore_folders: Names of folders to leave out, at any depth.
        unwritten: Paths below `folder` whose names are too long to write. Their files count as unreadable.

    Raises:
        InputError: A folder of unknown class contains images, there is no class folder, the class folders on one path contradict
            each other, `tumor` is mixed with its subtypes, or two subtypes are the only classes.
    """
    folders, left_out = walk(folder, ignore_folders, unwritten)
    masks = _sort_masks(folders)
    images = [(inner, files) for inner, files in folders if _masks_folder(inner) is None]
    classes = name_classes(inner for inner, _ in images)
    _reject_contradictions(images, classes)
    class_folders, outside = _sort_folders(images, classes)
    _reject_unknown_folders(outside, class_folders)
    labels = {class_folder: _label_of(class_folder, classes) for class_folder in class_folders}
    filled = {class_folder: files for class_folder, files in class_folders.items() if files}
    hashes: dict[Path, str] = {}
    kept = _drop_nested_copies(filled, labels, hashes)
    _reject_mixed_labels({labels[class_folder] for class_folder in kept})
    base = folder / os.path.commonpath([class_folder.parent for class_folder in kept]) if kept else folder
    found = [
        LabelledFile(
            file,
            escape_non_utf8(file.relative_to(base).as_posix()),
            labels[inner],
            find_mask(masks[inner.parent], PurePosixPath(file.relative_to(folder / inner.parent))) if masks else None,
            was_read=file in hashes,
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
        left_out=left_out,
        unmatched_masks=len(mask_files - {item.mask for item in found}),
    )


def _masks_folder(folder: PurePosixPath) -> PurePosixPath | None:
    """Return the outermost `masks` folder among `folder` and its parents."""
    return next((part for part in (*reversed(folder.parents), folder) if fold(part.name) == MASKS_FOLDER), None)


def _sort_masks(folders: list[Folder]) -> dict[PurePosixPath, Masks]:
    """Return the masks by the folder that contains their `masks` folder."""
    masks: dict[PurePosixPath, Masks] = defaultdict(dict)
    for folder, files in folders:
        if masks_folder := _masks_folder(folder):
            for file in files:
                path = folder.relative_to(masks_folder) / file.name
                masks[masks_folder.parent][str(path)] = file
                masks[masks_folder.parent].setdefault(mask_key(path), file)
    return masks


def _sort_folders(folders: Iterable[Folder], classes: Mapping[PurePosixPath, str]) -> tuple[ClassFolders, ClassFolders]:
    """Return the class folders, each with the files at any depth below it, and the folders outside them."""
    class_folders: ClassFolders = defaultdict(list)
    outside: ClassFolders = {}
    for folder, files in folders:
        on_path = _class_folders_on_path(folder, classes)
        if on_path:
            class_folders[on_path[-1]].extend(files)
        else:
            outside[folder] = files
    return class_folders, outside


def _class_folders_on_path(folder: PurePosixPath, classes: Mapping[PurePosixPath, str]) -> list[PurePosixPath]:
    """Return the class folders among `folder` and its parents, the outermost first."""
    return [path for path in (*reversed(folder.parents), folder) if path in classes]


def _label_of(class_folder: PurePosixPath, classes: Mapping[PurePosixPath, str]) -> str:
    label = combined_label([classes[path] for path in _class_folders_on_path(class_folder, classes)])
    return label or classes[class_folder]


def _reject_contradictions(folders: Iterable[Folder], classes: Mapping[PurePosixPath, str]) -> None:
    """Reject a path with the names of two classes. The error has no folder between them, which may name a patient."""
    contradictions: Counter[str] = Counter()
    for folder, files in folders:
        on_path = _class_folders_on_path(folder, classes)
        if files and on_path and combined_label([classes[path] for path in on_path]) is None:
            pairs = itertools.combinations(on_path, 2)
            pair = next(pair for pair in pairs if combined_label([classes[path] for path in pair]) is None)
            contradictions[" contains ".join(f"{path.name!r} ({classes[path]})" for path in pair)] += len(files)
    if contradictions:
        shown = "; ".join(
            f"{names}, {count} {'file' if count == 1 else 'files'}" for names, count in contradictions.most_common(10)
        )
        raise InputError(f"class folders contradict each other: {shown}; rename the folder that does not name the class")


def _reject_unknown_folders(outside: ClassFolders, class_folders: ClassFolders) -> None:
    unknown = [inner for inner, files in outside.items() if any(map(_is_image, files))]
    if not unknown and class_folders:
        return
    found = ", ".join(sorted({folder.name for folder in class_folders})) or "none"
    problem = f"unknown class folder with images: {', '.join(map(_describe, unknown[:10]))}" if unknown else "no class folder"
    way_out = "; to leave folders out, --set ignore_folders=NAME,..." if unknown else ""
    raise InputError(f"{problem}; class folders found: {found}; known names: {KNOWN_NAMES}{way_out}")


def _describe(folder: PurePosixPath) -> str:
    if not folder.name:
        return "the top folder"
    return f"{str(folder)!r}{' (beside folders of several classes in it)' if class_of_name(folder.name) else ''}"


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


def _drop_nested_copies(
    class_folders: ClassFolders, labels: Mapping[PurePosixPath, str], hashes: dict[Path, str]
) -> ClassFolders:
    """Drop the class folders of a root if another root above or below it contains all their files; add those read to `hashes`."""
    roots: dict[PurePosixPath, ClassFolders] = defaultdict(dict)
    for class_folder, files in class_folders.items():
        roots[class_folder.parent][class_folder] = files
    for root in sorted(roots, key=lambda root: (-len(root.parts), root)):
        related = [other for other in roots if root in other.parents or other in root.parents]
        if any(_contents(roots[root], labels, hashes) <= _contents(roots[other], labels, hashes) for other in related):
            del roots[root]
    return {class_folder: files for root in roots.values() for class_folder, files in root.items()}


def _contents(class_folders: ClassFolders, labels: Mapping[PurePosixPath, str], hashes: dict[Path, str]) -> set[tuple[str, str]]:
    for file in itertools.chain.from_iterable(class_folders.values()):
        if file not in hashes:
            hashes[file] = _file_hash(file)
    return {(labels[class_folder], hashes[file]) for class_folder, files in class_folders.items() for file in files}


def _file_hash(file: Path) -> str:
    try:
        return hashlib.sha256(read_file(file)).hexdigest()
    except ImageError:
        return str(file)
