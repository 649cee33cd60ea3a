"""The folder of temporary files of a search or a cross-validation."""

import os
import tempfile
from pathlib import Path

import pytest

from brain_tumor.errors import InputError
from components.files import file_lock
from pipelines.local.scratch import scratch_folder


def test_temporary_files_are_in_the_folder_and_end_with_it(tmp_path: Path) -> None:
    before = tempfile.gettempdir(), os.environ.get("TMPDIR")
    folder = tmp_path / "tune" / "a"
    with scratch_folder(folder) as (scratch, _):
        assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(scratch)
        assert scratch.parent == folder
        (folder / "study.db").touch()
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == before
    assert [path.name for path in folder.iterdir()] == ["study.db"]


def test_folder_without_a_result_is_deleted(tmp_path: Path) -> None:
    with pytest.raises(InputError), scratch_folder(tmp_path / "tune" / "a"):
        raise InputError("the source is invalid")
    assert [path.name for path in (tmp_path / "tune").iterdir()] == [".lock"]


def test_what_killed_commands_left_is_deleted_and_what_others_use_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("killed", "without-result", "killed-before-its-lock", "in-progress"):
        (tmp_path / name / "scratch").mkdir(parents=True)
        (tmp_path / name / "scratch" / "images.zip").touch()
        (tmp_path / name / ".cv.json.partial").touch()
        (tmp_path / name / "features").mkdir()
        (tmp_path / name / "features" / ".a.partial").mkdir()
    for path in (tmp_path / "without-result" / "features" / ".a.partial", tmp_path / "without-result" / "features"):
        path.rmdir()
    for name in ("killed", "without-result"):
        (tmp_path / name / "scratch" / ".lock").touch()
    with file_lock(tmp_path / "in-progress" / "scratch" / ".lock"), scratch_folder(tmp_path / "new"):
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {
        *(".lock", "killed", "killed/features", "killed-before-its-lock", "killed-before-its-lock/features", "new"),
        *("in-progress", "in-progress/.cv.json.partial", "in-progress/features", "in-progress/features/.a.partial"),
        *("new/scratch", "new/scratch/.lock", "in-progress/scratch", "in-progress/scratch/.lock"),
        "in-progress/scratch/images.zip",
    }
    assert capsys.readouterr().out.count("whose command was killed") == 3


def test_second_command_in_one_folder_is_refused(tmp_path: Path) -> None:
    with (
        scratch_folder(tmp_path / "cv" / "a"),
        pytest.raises(InputError, match="cv/a: another command that writes to it is in progress"),
        scratch_folder(tmp_path / "cv" / "a"),
    ):
        pass
