"""What a registry's errors mean and what to do, and the file of a SQLite registry: whether it can be read and written."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from brain_tumor.errors import InputError
from components.errors import describe_disk_error
from components.uris import redact_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK_WAIT_SECONDS = 30
DAMAGED = "it is damaged: put a copy of it back, or move it away; then the next run says how to register the stored models again"
# Words of SQLite, each with what to do.
CURES = {
    "is locked": "another program writes to it: end that program and start again",
    "readonly database": "make the file and its folder writable",
    "unable to open database file": "a file that may be read and written, in such a folder, was expected",
    "malformed": DAMAGED,
    "not a database": DAMAGED,
    "another program": "name another registry",
}


def sqlite_file(tracking_uri: str) -> Path | None:
    """Return the file of a SQLite registry; None for another registry."""
    from sqlalchemy.engine import make_url

    database = make_url(tracking_uri).database if tracking_uri.startswith("sqlite:") else None
    return None if not database or database.startswith((":memory:", "file:")) else Path(database).resolve()


def registry_folder(tracking_uri: str) -> Path | None:
    """Return the folder of a SQLite registry; None for another registry."""
    database = sqlite_file(tracking_uri)
    return database and database.parent


def check_readable(database: Path) -> None:
    """Check that the file, if there is one, is a whole registry; wait while another program has it locked.

    Raises:
        InputError: It is not.
    """
    with _opened(database, "read") as connection:
        (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if result != "ok":
            raise sqlite3.DatabaseError("database disk image is malformed")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and "alembic_version" not in tables:  # MLflow would add its own
            raise sqlite3.DatabaseError("it is the database of another program")


def check_writable(database: Path) -> None:
    """Check that the file can be written, with a change that is rolled back; wait while another program has it locked.

    Raises:
        InputError: It cannot.
    """
    with _opened(database, "written") as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE written (x)")
        connection.rollback()


@contextlib.contextmanager
def _opened(database: Path, purpose: str) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=LOCK_WAIT_SECONDS, isolation_level=None)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise InputError(f"the registry {database} cannot be {purpose}: {with_cure(error, database.parent)}") from error


def with_cure(error: Exception, folder: Path | None = None) -> str:
    """Return one line: what a database, MLflow or the file system says, and what to do.

    Args:
        error: The error.
        folder: Folder of the registry or the store, for the error of a full disk.
    """
    if described := describe_disk_error(error, *([folder] if folder else [])):
        return described
    line = (redact_credentials(str(error)).strip().splitlines() or [type(error).__name__])[0]
    line = line.removeprefix("(sqlite3.OperationalError) ").removeprefix("(sqlite3.DatabaseError) ")
    cure = next((cure for words, cure in CURES.items() if words in line), None)
    return f"{line}; {cure}" if cure else line


@contextlib.contextmanager
def as_input_error(failure: str, client: "MlflowClient | None" = None) -> Iterator[None]:
    """Convert an error of MLflow, fsspec or the file system to an InputError: the failure, the first line of its message, a cure.

    Args:
        failure: What failed.
        client: The registry's client if the registry may be the cause.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except InputError:
        raise
    except (OSError, ImportError, ValueError, MlflowException) as error:
        registry = (
            f"the registry {redact_credentials(client.tracking_uri)}: " if client and isinstance(error, MlflowException) else ""
        )
        folder = registry_folder(client.tracking_uri) if client else None
        raise InputError(f"{failure}: {registry}{with_cure(error, folder)}") from error
