import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, VERSION
from version import set_version

NEW = ".".join(["97", "86", "75"])  # split, so that this file does not contain it
# A lock may contain the same version of another package, and the changelog keeps previous versions.
OTHERS = ("requirements*.txt", "*.png", "*.lock", "go.*", "CHANGELOG.md")


def tracked() -> list[Path]:
    """Return every file that Git tracks or would add."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return [Path(name) for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in tracked():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_version_set_replaces_the_old_version_in_every_file(copy: Path) -> None:
    (copy / ".venv").mkdir()  # not a link itself: a recipe that clears it would clear the environment of the tests
    for part in Path(sys.prefix).iterdir():
        (copy / ".venv" / part.name).symlink_to(part)
    (copy / "ready").touch()
    command = ["make", "-C", str(copy), "READY=ready", "version-set", f"VERSION={NEW}"]
    environment = {name: value for name, value in os.environ.items() if name != "COMPONENTS_IMAGE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for path in (copy / name for name in tracked()):
        if not any(path.match(each) for each in OTHERS):
            text = path.read_text(encoding="utf-8", errors="replace")
            found[str(path.relative_to(copy))] = VERSION in text, NEW in text
    assert [name for name, (old, _) in found.items() if old] == []
    for name in ("pyproject.toml", "helm/brain-tumor-ui/Chart.yaml", "components/__init__.py", "pipelines/brain_tumor.yaml"):
        assert found[name] == (False, True), name
    compiled = {name for name in found if "pipelines/" in name}
    assert {name for name, (_, new) in found.items() if new} - compiled <= set(done.stdout.split())


def test_setting_the_current_version_changes_no_file(copy: Path) -> None:
    assert set_version(copy, VERSION) == []


@pytest.mark.parametrize("version", ["", "1.2", "v1.2.3", "1.2.3-rc1"])
def test_invalid_version_is_rejected(copy: Path, version: str) -> None:
    with pytest.raises(ValueError, match="expected three numbers"):
        set_version(copy, version)
