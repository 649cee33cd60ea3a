"""What the errors of a full disk, of a read-only one and of a file in the wrong place say."""

import errno
import os
from pathlib import Path

import pytest

from brain_tumor.errors import InputError
from components.errors import describe_disk_error, exit_on_error, room_for
from components.files import atomic_write
from tests.disks import fill, make_room, read_only, small_disk


def test_full_disk_is_named_with_what_is_free_and_what_is_missing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        with pytest.raises(SystemExit) as exited, exit_on_error("train", disk / "not" / "yet"):
            fill(disk)
            (disk / "more").write_bytes(bytes(9000))
        assert exited.value.code == (
            f"train: error: {disk}: the disk is full, 0 kB of 1.0 MB are free; make room or choose another disk"
        )
        (disk / "more").unlink()
        make_room(disk)
        with pytest.raises(InputError) as raised, room_for(3_000_000, disk), atomic_write(disk / "model") as partial:
            partial.write_bytes(bytes(3_000_000))
        assert str(raised.value) == (
            f"{disk}: the disk is full, at least 3.0 MB are needed, 1.0 MB are free, 2.0 MB are missing; "
            "make room or choose another disk"
        )
        assert list(disk.iterdir()) == []


def test_full_disk_is_recognised_in_the_errors_of_tensorflow_and_sqlite(tmp_path: Path) -> None:
    import sqlite3

    import tensorflow as tf

    with small_disk(tmp_path / "disk", 1) as disk:
        database = sqlite3.connect(disk / "study.db")
        database.execute("CREATE TABLE t (x)")
        database.commit()
        fill(disk)
        with pytest.raises(tf.errors.OpError) as raised, room_for(1, disk):
            tf.io.read_file(str(disk / "missing"))
        assert describe_disk_error(raised.value, disk) is None, "not every error of TensorFlow is one of a disk"
        needs = "at least 9.0 MB are needed, 0 kB are free, 9.0 MB are missing"
        with (
            pytest.raises(InputError, match=f"^{disk}: the disk is full, {needs}"),
            room_for(9_000_000, disk),
            tf.io.TFRecordWriter(str(disk / "shard")) as writer,
        ):
            writer.write(bytes(9_000_000))
        with pytest.raises(sqlite3.OperationalError) as failed:
            database.execute("INSERT INTO t VALUES (?)", [bytes(100_000)])
            database.commit()
        assert str(describe_disk_error(failed.value, disk)).startswith(f"{disk}: the disk is full, 0 kB of 1.0 MB are free")
        database.close()


def test_read_only_disk_and_a_file_in_place_of_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with read_only(tmp_path / "runs"), pytest.raises(SystemExit) as exited, exit_on_error("", tmp_path):
        (tmp_path / "runs" / "cv").mkdir()
    cure = "make it writable or choose another folder"
    assert exited.value.code == f"error: {tmp_path}/runs/cv: Read-only file system; {cure}"
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as exited, exit_on_error("ingest", tmp_path):
        (tmp_path / "file" / "images.zip").write_bytes(b"")
    assert exited.value.code == f"ingest: error: {tmp_path}/file/images.zip: Not a directory; move away what is in its place"


def test_line_of_a_traceback_is_read_and_other_errors_are_not_taken_for_a_disk(tmp_path: Path) -> None:
    line = f"    PermissionError: [Errno {errno.EACCES}] {os.strerror(errno.EACCES)}: '{tmp_path}/executor_output.json'"
    assert describe_disk_error(line) == (
        f"{tmp_path}/executor_output.json: Permission denied; make it writable or choose another folder"
    )
    assert describe_disk_error(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")) is None
    assert describe_disk_error("PERMISSION_DENIED: Permission denied for user reader") is None
    with pytest.raises(ZeroDivisionError), exit_on_error("train", tmp_path):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), room_for(1, tmp_path):
        raise ZeroDivisionError
