"""Commands whose folder of runs cannot be written say so at once."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.cross_validation.__main__ import main as cross_validate
from pipelines.local.monitor import main as monitor
from pipelines.local.run import main as run
from pipelines.local.serve import main as serve
from pipelines.tuning.tune import main as tune
from tests.disks import read_only
from tests.pipelines.conftest import exit_message

SOURCE = ("--source", "synthetic://?n=40")
CURE = "make it writable or choose another folder"


@pytest.fixture
def no_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a command waits, as MLflow does for a minute and a half before it tells that a database cannot be opened."""

    def fail(seconds: float) -> None:
        pytest.fail(f"the command waits {seconds} s")

    monkeypatch.setattr(time, "sleep", fail)


@pytest.mark.parametrize("exists", [True, False], ids=["folder", "no folder"])
@pytest.mark.parametrize(
    ("main", "options"),
    [(run, SOURCE), (serve, ()), (tune, SOURCE), (cross_validate, SOURCE), (monitor, ())],
    ids=["run", "serve", "tune", "cv", "monitor"],
)
@pytest.mark.usefixtures("no_retry")
def test_command_names_a_folder_of_runs_that_is_read_only(
    main: Callable[[], int], options: tuple[str, ...], exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "prometheus").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    disk = tmp_path / "disk"
    disk.mkdir()
    runs = disk if exists else disk / "runs"
    with read_only(disk):
        message = exit_message(main, "--runs", str(runs), *options)
    assert message.startswith("error: ")
    assert str(runs) in message
    assert "Read-only file system" in message or "unable to open database file" in message
    assert CURE in message or message.endswith("a file that may be read and written, in such a folder, was expected")
    assert "\n" not in message
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("below", ["", "runs"], ids=["file", "below a file"])
def test_run_names_a_file_in_place_of_its_folder(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = exit_message(run, "--runs", str(tmp_path / "file" / below), *SOURCE)
    assert str(tmp_path / "file") in message
    assert message.endswith("; move away what is in its place")
