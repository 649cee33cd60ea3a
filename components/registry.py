"""The model registry: MLflow's client, the alias `champion` and the files of a version."""

import contextlib
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.uris import is_local_path, redact_credentials, sqlite_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
SOURCE_TAG = "dataset.source"
PENDING_TAG = "promotion.pending"  # of a version that was registered and is not the champion yet
DEFER_PROMOTION = "BRAIN_TUMOR_DEFER_PROMOTION"  # environment variable of a local run, which promotes once its report is in place
LOCK_WAIT_SECONDS = 30


@dataclass(frozen=True)
class RegisteredVersion:
    """A model version in the registry; `uri` is its folder in the model store."""

    name: str
    version: int
    uri: str


def registry_uri(runs: Path) -> str:
    """Return MLFLOW_TRACKING_URI, or the URI of the registry in a folder of runs if it is unset."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(runs / "mlflow.db")


def open_registry_and_store(model_store: str, tracking_uri: str = "") -> "MlflowClient":
    """Return a registry client if registry and model store are both usable: a check before a long training, too.

    Raises:
        InputError: See `connect`; or the store cannot be opened, or the registry does not accept its URIs.
    """
    client = connect(tracking_uri)
    if database := sqlite_file(client.tracking_uri):
        _check(database, "BEGIN IMMEDIATE", "written")
    if is_local_path(model_store) and client.tracking_uri.startswith("http"):
        raise InputError(f"model_store: got {model_store}, expected s3:// or gs://; an MLflow server accepts no local path")
    with as_input_error(f"model_store {redact_credentials(model_store)} cannot be opened"):
        if is_local_path(model_store):
            Path(model_store).mkdir(parents=True, exist_ok=True)
            folder = Path(model_store) / MODEL_NAME / str(next_version(client))
            reject_existing(str(folder), folder.exists())
        else:
            import fsspec

            fsspec.core.url_to_fs(model_store)
    return client


def connect(tracking_uri: str = "") -> "MlflowClient":
    """Return a client of the registry at `tracking_uri`, or at MLFLOW_TRACKING_URI if it is empty.

    Raises:
        InputError: Neither is set, or the registry cannot be opened.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    import sqlalchemy.exc
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        raise InputError("no registry: set MLFLOW_TRACKING_URI or tracking_uri, for example to sqlite:///runs/mlflow.db")
    try:
        if database := sqlite_file(uri):
            database.parent.mkdir(parents=True, exist_ok=True)
            _check(database, "SELECT name FROM sqlite_master", "read")
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_registered_models(max_results=1)
    except (OSError, ImportError, MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = redact_credentials(str(error)).strip().splitlines() or [type(error).__name__]
        raise InputError(f"the registry at {redact_credentials(uri)} cannot be opened: {reason[0]}") from error
    return client


def _check(database: Path, statement: str, purpose: str) -> None:
    """Run a statement on a SQLite database and roll it back; wait while another process has it locked.

    Raises:
        InputError: It fails.
    """
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=LOCK_WAIT_SECONDS)) as connection:
            connection.execute(statement).fetchall()
            connection.rollback()
    except sqlite3.Error as error:
        raise InputError(f"the registry {database} cannot be {purpose}: {error}") from error


def get_champion(client: "MlflowClient") -> RegisteredVersion | None:
    """Return the version with the alias `champion`, or None if there is none.

    Raises:
        InputError: The registry returns another error.
    """
    from mlflow.exceptions import MlflowException

    try:
        version = client.get_model_version_by_alias(MODEL_NAME, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise InputError(f"the registry did not return the champion: {error.error_code}") from error
    return RegisteredVersion(MODEL_NAME, int(version.version), _resolve(client, version.source))


def reject_existing(uri: str, exists: bool) -> None:
    """Raise InputError if there are files at the URI of a version that is to be registered."""
    if exists:
        raise InputError(f"{uri}: exists but is not in the registry; move it away")


def next_version(client: "MlflowClient") -> int:
    """Return the number that the registry will give to the next version."""
    return 1 + max((int(version.version) for version in client.search_model_versions(f"name='{MODEL_NAME}'")), default=0)


def make_champion(client: "MlflowClient", version: int) -> None:
    """Move the alias `champion` to a version, and print what it and the previous champion were trained on.

    Raises:
        InputError: The registry returns another error, and the alias has not moved.
    """
    from mlflow.exceptions import MlflowException

    previous = get_champion(client)
    with as_input_error(f"version {version} did not become the champion"):
        lines = [f"{MODEL_NAME} version {version} is the champion, trained on {_source(client, version)}"]
        if previous:
            trained_on = _source(client, previous.version)
            lines.append(f"the previous champion was version {previous.version}, trained on {trained_on}")
        client.set_registered_model_alias(MODEL_NAME, CHAMPION, str(version))
    with contextlib.suppress(MlflowException):  # the next run deletes the tag of a champion
        client.delete_model_version_tag(MODEL_NAME, str(version), PENDING_TAG)
    for line in lines:
        print(f"register: {line}", flush=True)


def delete_pending(client: "MlflowClient") -> list[int]:
    """Delete the versions that never became the champion because their run was killed; return their numbers."""
    champion = get_champion(client)
    deleted = []
    for version in client.search_model_versions(f"name='{MODEL_NAME}'"):
        if PENDING_TAG not in version.tags:
            continue
        if champion and champion.version == int(version.version):  # killed after the alias had moved
            client.delete_model_version_tag(MODEL_NAME, version.version, PENDING_TAG)
            continue
        shutil.rmtree(_resolve(client, version.source), ignore_errors=True)
        client.delete_model_version(MODEL_NAME, version.version)
        deleted.append(int(version.version))
    return sorted(deleted)


def _source(client: "MlflowClient", version: int) -> str:
    return client.get_model_version(MODEL_NAME, str(version)).tags.get(SOURCE_TAG, "unknown data")


def relative_uri(client: "MlflowClient", uri: str) -> str:
    """Return a version's URI for the registry: a local path relative to the registry's folder, so that both can be moved."""
    folder = _registry_folder(client.tracking_uri)
    return os.path.relpath(uri, folder) if folder and is_local_path(uri) else uri


def _resolve(client: "MlflowClient", uri: str) -> str:
    """Return a version's URI with an absolute path; that of an early model is absolute already."""
    folder = _registry_folder(client.tracking_uri)
    return os.path.normpath(folder / uri) if folder and is_local_path(uri) else uri


def _registry_folder(tracking_uri: str) -> Path | None:
    """Return the folder of a SQLite registry; None for another registry."""
    database = sqlite_file(tracking_uri)
    return database and database.parent


def sqlite_file(tracking_uri: str) -> Path | None:
    """Return the file of a SQLite registry; None for another registry."""
    from sqlalchemy.engine import make_url

    database = make_url(tracking_uri).database if tracking_uri.startswith("sqlite:") else None
    return None if not database or database.startswith((":memory:", "file:")) else Path(database).resolve()


@contextlib.contextmanager
def local_copy(registered: RegisteredVersion) -> Iterator[Path]:
    """Yield a folder with the version's files: the store's own, or a temporary download.

    Raises:
        InputError: The version cannot be read.
    """
    if is_local_path(registered.uri):
        yield Path(registered.uri)
        return
    with tempfile.TemporaryDirectory() as scratch:
        with as_input_error(f"{registered.uri} cannot be read"):
            import fsspec

            files, base = fsspec.core.url_to_fs(registered.uri)
            files.get(base, f"{scratch}/model", recursive=True)
        yield Path(scratch) / "model"


@contextlib.contextmanager
def as_input_error(failure: str) -> Iterator[None]:
    """Convert an error of MLflow, fsspec or the file system to an InputError: the failure, then the first line of its message."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except InputError:
        raise
    except (OSError, ImportError, ValueError, MlflowException) as error:
        raise InputError(f"{failure}: {redact_credentials(str(error)).splitlines()[0]}") from error
