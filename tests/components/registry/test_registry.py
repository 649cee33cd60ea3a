import argparse
import contextlib
import http.server
import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components import registry, registry_file
from components.registry import (
    CHAMPION,
    RegisteredVersion,
    connect,
    get_champion,
    local_copy,
    make_champion,
    open_registry_and_store,
    registry_uri,
    relative_uri,
    runs_folder,
)
from components.uris import sqlite_uri
from tests.disks import read_only


def test_missing_or_unreadable_registry_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match="no registry: set MLFLOW_TRACKING_URI"):
        connect("")
    (tmp_path / "junk.db").write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match=r"the registry .*junk\.db cannot be read: file is not a database; it is damaged"):
        connect(f"sqlite:///{tmp_path}/junk.db")


@pytest.mark.parametrize("character", ["\n", "\t", "\r", "\x1b", "\x7f", "\x85", "\u2028", os.fsdecode(b"\xff")])
def test_folder_of_runs_with_a_control_character_or_without_utf_8_is_rejected(character: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"^got '.*/a\\.*b', expected UTF-8 without control characters$"):
        runs_folder(f"a{character}b")


def test_longest_folder_of_runs_holds_every_database(tmp_path: Path) -> None:
    room = registry.MAX_RUNS_BYTES - len(os.fsencode(tmp_path.resolve()))
    runs = runs_folder(f"{tmp_path}/{'a' * 200}/{'b' * (room - 202)}")
    for database in (runs / "mlflow.db", runs / "tune" / "20260101T000000000000Z" / "study.db"):
        database.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("CREATE TABLE t (a)")
            connection.commit()
    with pytest.raises(
        argparse.ArgumentTypeError, match=r"^got a path of 441 bytes, expected at most 440, or SQLite cannot open it$"
    ):
        runs_folder(f"{runs}b")


@pytest.mark.parametrize(
    "name", ["100%41 %2F", "a?b=c&d", "a#b", "with space", "{brace}", "100%", 'Müller\'s "scans"', r"[a]*\b$c;`d`", "~-. "]
)
def test_registry_is_in_its_folder_and_both_can_be_moved(
    name: str, empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    runs, moved = tmp_path / name / "runs", tmp_path / "moved %3F" / name
    runs.mkdir(parents=True)
    shutil.copy(empty_registry, runs)
    client = connect(registry_uri(runs))
    client.create_registered_model(MODEL_NAME)
    for version, uri in ((1, str(runs / "models" / "1")), (2, "s3://models/2"), (3, str(tmp_path / "store" / "3"))):
        client.create_model_version(MODEL_NAME, source=relative_uri(client, uri))
        client.set_registered_model_alias(MODEL_NAME, CHAMPION, str(version))
        assert get_champion(connect(registry_uri(runs))) == RegisteredVersion(MODEL_NAME, version, uri)
    client.set_registered_model_alias(MODEL_NAME, CHAMPION, "1")
    assert {path.name for path in tmp_path.iterdir()} == {name}, "MLflow makes the folders of a URI that is not quoted"
    moved.parent.mkdir()
    runs.rename(moved)
    assert get_champion(connect(registry_uri(moved))) == RegisteredVersion(MODEL_NAME, 1, str(moved / "models" / "1"))


def test_absolute_path_of_an_early_model_still_works(empty_registry: Path, tmp_path: Path) -> None:
    shutil.copy(empty_registry, tmp_path)
    client = connect(sqlite_uri(tmp_path / "mlflow.db"))
    client.create_registered_model(MODEL_NAME)
    client.create_model_version(MODEL_NAME, source="/data/runs/models/brain-tumor/1")
    client.set_registered_model_alias(MODEL_NAME, CHAMPION, "1")
    assert get_champion(client) == RegisteredVersion(MODEL_NAME, 1, "/data/runs/models/brain-tumor/1")


def test_mlflow_server_accepts_no_local_path(tmp_path: Path) -> None:
    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(InputError, match=r"model_store: got .*models, expected s3:// or gs://; an MLflow server accepts no"):
            open_registry_and_store(str(tmp_path / "models"), url)
        assert open_registry_and_store("memory://models", url).tracking_uri == url
        server.shutdown()
    assert not (tmp_path / "models").exists()


def test_local_copy_of_a_version_on_object_storage_has_every_file(tiny_model: Path) -> None:
    import fsspec

    fsspec.filesystem("memory").put(f"{tiny_model}/", "/fetched/brain-tumor/1", recursive=True)
    with local_copy(RegisteredVersion("brain-tumor", 1, "memory://fetched/brain-tumor/1")) as folder:
        assert contents(folder) == contents(tiny_model)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_registry_of_another_schema_is_named_with_the_cure(empty_registry: Path, tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    shutil.copy(empty_registry, database)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'another'")
        connection.commit()
    with pytest.raises(InputError, match=r"cannot be opened: .*mlflow db upgrade"):
        connect(f"sqlite:///{database}")


def test_locked_registry_is_waited_for(empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "mlflow.db"
    shutil.copy(empty_registry, database)
    with contextlib.closing(sqlite3.connect(database, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(1, other.rollback)
        release.start()
        open_registry_and_store(str(tmp_path / "models"), f"sqlite:///{database}")
        release.join()
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(registry_file, "LOCK_WAIT_SECONDS", 0.2)
        with pytest.raises(InputError) as raised:
            open_registry_and_store(str(tmp_path / "models"), f"sqlite:///{database}")
    cure = "another program writes to it: end that program and start again"
    assert str(raised.value) == f"the registry {database} cannot be written: database is locked; {cure}"


def cut(database: Path, size: int) -> None:
    os.truncate(database, size)


def overwrite(database: Path, start: int, data: bytes) -> None:
    with database.open("r+b") as file:
        file.seek(start)
        file.write(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda database: cut(database, 50),
        lambda database: cut(database, 4096),
        lambda database: cut(database, database.stat().st_size // 2),
        lambda database: cut(database, database.stat().st_size - 4096),
        lambda database: overwrite(database, 4096, bytes(4096)),
        lambda database: overwrite(database, database.stat().st_size // 8192 * 4096, bytes(4096)),
        lambda database: overwrite(database, 100, random.Random(0).randbytes(8092)),
        lambda database: database.write_bytes(random.Random(0).randbytes(50_000)),
    ],
    ids=["header", "one page", "half", "last page", "second page zero", "middle page zero", "random pages", "random file"],
)
def test_damaged_registry_is_named_with_the_cure(damage: Callable[[Path], object], empty_registry: Path, tmp_path: Path) -> None:
    database = Path(shutil.copy(empty_registry, tmp_path))
    damage(database)
    before = database.read_bytes()
    with pytest.raises(InputError) as raised:
        open_registry_and_store(str(tmp_path / "models"), f"sqlite:///{database}")
    message = str(raised.value)
    assert message.startswith(f"the registry {database} cannot be read: "), message
    assert "; it is damaged: put a copy of it back, or move it away; " in message
    assert "\n" not in message
    assert database.read_bytes() == before


def test_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "study.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE studies (x)")
    with pytest.raises(InputError, match=r"it is the database of another program; name another registry$"):
        connect(f"sqlite:///{database}")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("studies",)]


def test_read_only_registry_is_read_but_named_before_it_is_written(empty_registry: Path, tmp_path: Path) -> None:
    database = Path(shutil.copy(empty_registry, tmp_path))
    with read_only(database):
        client = connect(f"sqlite:///{database}")
        assert get_champion(client) is None
        with pytest.raises(InputError) as raised:
            open_registry_and_store(str(tmp_path / "models"), f"sqlite:///{database}")
        assert str(raised.value) == (
            f"the registry {database} cannot be written: attempt to write a readonly database; "
            "make the file and its folder writable"
        )


def test_registry_that_fails_after_it_was_opened_is_named_with_cause_and_cure(empty_registry: Path, tmp_path: Path) -> None:
    database = Path(shutil.copy(empty_registry, tmp_path))
    client = connect(f"sqlite:///{database}")
    client.create_registered_model(MODEL_NAME)
    client.create_model_version(MODEL_NAME, source="models/brain-tumor/1")
    with read_only(database), pytest.raises(InputError) as raised:
        make_champion(connect(f"sqlite:////{database}"), 1)
    assert str(raised.value) == (
        f"version 1 did not become the champion: the registry sqlite:////{database}: "
        "attempt to write a readonly database; make the file and its folder writable"
    )
    database.write_bytes(b"junk" * 5000)
    with pytest.raises(InputError, match=r"did not return the champion: file is not a database; it is damaged: put a copy"):
        get_champion(client)


def test_version_in_the_store_that_the_registry_does_not_know_is_named(empty_registry: Path, tmp_path: Path) -> None:
    shutil.copy(empty_registry, tmp_path)
    (tmp_path / "models" / "brain-tumor" / "1").mkdir(parents=True)
    with pytest.raises(InputError, match=r"/models/brain-tumor/1: exists but is not in the registry; move it away$"):
        open_registry_and_store(str(tmp_path / "models"), f"sqlite:///{tmp_path}/mlflow.db")
