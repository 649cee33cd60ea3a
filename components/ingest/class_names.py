"""The class that a folder's name stands for."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from brain_tumor.classes import NO_TUMOR, SUBTYPES, TUMOR

TUMORS = r"tumou?r(s|ous)?"
# Of names without case and separators.
CLASS_NAMES = {
    TUMOR: rf"yes|(with)?(brain)?{TUMORS}",
    NO_TUMOR: rf"no|(no|non|not|without)(brain)?{TUMORS}|(brain)?(healthy|normal)(brain)?",
    **{subtype: rf"(brain)?{subtype}s?({TUMORS})?" for subtype in SUBTYPES},
}
# Names that also mean something else, such as a patient's number: a class only side by side and without other class names.
SIBLING_NAMES = ({"negative": NO_TUMOR, "positive": TUMOR}, {"0": NO_TUMOR, "1": TUMOR})
KNOWN_NAMES = (
    "yes, tumor, brain_tumor, no, no_tumor, non_tumor, healthy, normal, glioma, meningioma, pituitary, glioma_tumor, "
    "meningioma_tumor, pituitary_tumor, also as tumour and tumors; without these, positive and negative or 1 and 0 side by side"
)


def fold_case(name: str) -> str:
    """Return a name without differences of case and Unicode form."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def fold(name: str) -> str:
    """Return a name without differences of case and separators: `nontumor` for `Non-Tumor`."""
    return re.sub(r"[\W_]+", "", fold_case(name))


def class_of_name(name: str) -> str | None:
    """Return the class that a name stands for wherever it is; None if there is none."""
    return next((label for label, pattern in CLASS_NAMES.items() if re.fullmatch(pattern, fold(name))), None)


def name_classes(folders: Iterable[PurePosixPath]) -> dict[PurePosixPath, str]:
    """Return the class of every folder that names one, among some folders and their parents.

    A folder that contains folders of several classes is the root of a dataset, whatever its name: `Brain Tumor/` above `yes/`
    and `no/`. So is a folder above such a root if all class folders are below it.
    """
    paths = {path for folder in folders for path in (folder, *folder.parents)}
    named = {path: label for path in paths if (label := class_of_name(path.name))}
    if not named:
        return _name_siblings(paths)
    inner: dict[PurePosixPath, set[str]] = defaultdict(set)
    for path, label in named.items():
        inner[path.parent].add(label)
    roots = {path for path, labels in inner.items() if len(labels) > 1}
    roots |= {path for path in named if any(path in root.parents for root in roots) and _is_on_every_path(path, named)}
    return {path: label for path, label in named.items() if path not in roots}


def combined_label(labels: Collection[str]) -> str | None:
    """Return the class of all names on one path: the subtype below or above `tumor`; None if they contradict each other."""
    specific = set(labels) - ({TUMOR} if set(labels) & set(SUBTYPES) else set())
    return specific.pop() if len(specific) == 1 else None


def _name_siblings(paths: Collection[PurePosixPath]) -> dict[PurePosixPath, str]:
    for names in SIBLING_NAMES:
        named = {path: names[fold(path.name)] for path in paths if fold(path.name) in names}
        parents = [{path.parent for path, label in named.items() if label == each} for each in names.values()]
        if both := set.intersection(*parents):
            return {path: label for path, label in named.items() if path.parent in both}
    return {}


def _is_on_every_path(path: PurePosixPath, named: Collection[PurePosixPath]) -> bool:
    return all(path == other or path in other.parents or other in path.parents for other in named)
