"""Set the project's version in every file that names it: `make version-set VERSION=1.2.3`, which then compiles the pipeline."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent
OURS = re.compile(r"(?<=brain-tumor-)((?:components|serving|dicomweb|ui):)\d+\.\d+\.\d+")
FIELD = re.compile(r'^((?:version|appVersion)(?: =|:) "?)\d+\.\d+\.\d+(?="?$)', re.MULTILINE)
FOLDERS = ("components", "manifests", "tests")
# The version as a field, and as the tag of our container images.
PLACES = {
    FIELD: ("pyproject.toml", "helm/*/Chart.yaml"),
    OURS: (
        "components/__init__.py",
        "*.yaml",
        "README.md",
        "docs/*.md",
        "helm/**/*.md",
        *(f"{folder}/**/*.yaml" for folder in FOLDERS),
    ),
}


def set_version(root: Path, version: str) -> list[Path]:
    """Write the version into every file below `root` that names it; return the changed files.

    Raises:
        ValueError: The version is not three numbers.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"version: got {version!r}, expected three numbers as in 1.2.3")
    changed = []
    for pattern, globs in PLACES.items():
        for path in sorted({path for each in globs for path in root.glob(each)}):
            before = path.read_text(encoding="utf-8")
            after = pattern.sub(rf"\g<1>{version}", before)
            if after != before:
                path.write_text(after, encoding="utf-8")
                changed.append(path)
    return changed


def main() -> None:
    """Set the version and print the changed files."""
    try:
        (version,) = sys.argv[1:]
        changed = set_version(ROOT, version)
    except ValueError as error:
        sys.exit(f"error: {error}; usage: make version-set VERSION=1.2.3")
    print(*(path.relative_to(ROOT) for path in changed), sep="\n")


if __name__ == "__main__":
    main()
