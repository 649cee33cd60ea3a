"""The model registry: MLflow's client, the alias `champion` and the files of a version."""

import argparse
import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.errors import describe_disk_error
from components.registry.commands import describe_unregistered
from components.registry_file import as_input_error, check_readable, check_writable, registry_folder, sqlite_file, with_cure
from components.uris import is_local_path, redact_credentials, sqlite_uri
from components.values import printable

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "brain-tumor"
CHAMPION = "champion"
SOURCE_TAG = "dataset.source"
RUN_TAG = "brain_tumor.register"  # of an MLflow run that register made for a version
PENDING_TAG = "promotion.pending"  # of a version that was registered and is not the champion yet
DEFER_PROMOTION = "BRAIN_TUMOR_DEFER_PROMOTION"  # environment variable of a local run, which promotes once its report is in place
MAX_RUNS_BYTES = 440  # SQLite opens no path above 512 bytes, and the longest in the folder adds some 60


@dataclass(frozen=True)
class RegisteredVersion:
    """A model version in the registry; `uri` is its folder in the model store."""

    name: str
    version: int
    uri: str


def runs_folder(text: str) -> Path:
    """Return the folder of all runs of a command line, as the `type` of an argument of argparse.

    Raises:
        argparse.ArgumentTypeError: Its path has control characters, is not UTF-8, or is too long for a database in it.
    """
    path = printable(str(Path(text).resolve()))
    if (size := len(path.encode())) > MAX_RUNS_BYTES:
        raise argparse.ArgumentTypeError(
            f"got a path of {size} bytes, expected at most {MAX_RUNS_BYTES}, or SQLite cannot open it"
        )
    return Path(text)


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
        check_writable(database)
    if is_local_path(model_store) and client.tracking_uri.startswith("http"):
        raise InputError(f"model_store: got {model_store}, expected s3:// or gs://; an MLflow server accepts no local path")
    with as_input_error(f"model_store {redact_credentials(model_store)} cannot be opened"):
        if is_local_path(model_store):
            Path(model_store).mkdir(parents=True, exist_ok=True)
            reject_unregistered(client, model_store)
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
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        raise InputError("no registry: set MLFLOW_TRACKING_URI or tracking_uri, for example to sqlite:///runs/mlflow.db")
    database = sqlite_file(uri)
    if database:
        try:
            database.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = describe_disk_error(error, database.parent) or str(error)
            raise InputError(f"the registry at {redact_credentials(uri)} cannot be opened: {reason}") from error
        check_readable(database)
    # Slow imports: what is known about a file is said before them.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    import sqlalchemy.exc
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs a traceback of what it also raises
    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_registered_models(max_results=1)
    except (OSError, ImportError, MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = with_cure(error, database and database.parent)
        raise InputError(f"the registry at {redact_credentials(uri)} cannot be opened: {reason}") from error
    return client


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
        name = redact_credentials(client.tracking_uri)
        reason = with_cure(error, registry_folder(client.tracking_uri))
        raise InputError(f"the registry {name} did not return the champion: {reason}") from error
    return RegisteredVersion(MODEL_NAME, int(version.version), resolve(client, version.source))


def unregistered_versions(client: "MlflowClient", model_store: str) -> list[int]:
    """Return the versions in a folder of models that the registry does not know; none of a store elsewhere."""
    folder = Path(model_store) / MODEL_NAME
    if not is_local_path(model_store) or not folder.is_dir():
        return []
    stored = {int(path.parent.name) for path in folder.glob("*/saved_model.pb") if path.parent.name.isdecimal()}
    return sorted(stored - _versions(client))


def reject_unregistered(client: "MlflowClient", model_store: str) -> None:
    """Raise InputError, with the command that registers them, if the next versions' numbers are those of unregistered ones."""
    if versions := [number for number in unregistered_versions(client, model_store) if number >= next_version(client)]:
        raise InputError(describe_unregistered(client.tracking_uri, model_store, versions))


def why_no_champion(client: "MlflowClient", model_store: str) -> str:
    """Return why a registry has no champion."""
    versions = unregistered_versions(client, model_store)
    return describe_unregistered(client.tracking_uri, model_store, versions) if versions else "no model has passed the gate yet"


def get_version(client: "MlflowClient", version: int) -> RegisteredVersion:
    """Return a version by its number.

    Raises:
        InputError: There is no such version.
    """
    with as_input_error(f"version {version} is not in the registry", client):
        source = client.get_model_version(MODEL_NAME, str(version)).source
    return RegisteredVersion(MODEL_NAME, version, resolve(client, source))


def reject_existing(uri: str, exists: bool) -> None:
    """Raise InputError if there are files at the URI of a version that is to be registered."""
    if exists:
        raise InputError(f"{uri}: exists but is not in the registry; move it away")


def next_version(client: "MlflowClient") -> int:
    """Return the number that the registry will give to the next version."""
    return 1 + max(_versions(client), default=0)


def _versions(client: "MlflowClient") -> set[int]:
    return {int(version.version) for version in client.search_model_versions(f"name='{MODEL_NAME}'")}


def make_champion(client: "MlflowClient", version: int) -> None:
    """Move the alias `champion` to a version, and print what it and the previous champion were trained on.

    Raises:
        InputError: The registry returns another error, and the alias has not moved.
    """
    from mlflow.exceptions import MlflowException

    previous = get_champion(client)
    with as_input_error(f"version {version} did not become the champion", client):
        lines = [f"{MODEL_NAME} version {version} is the champion, trained on {_source(client, version)}"]
        if previous:
            trained_on = _source(client, previous.version)
            lines.append(f"the previous champion was version {previous.version}, trained on {trained_on}")
        client.set_registered_model_alias(MODEL_NAME, CHAMPION, str(version))
    with contextlib.suppress(MlflowException):  # the next run deletes the tag of a champion
        client.delete_model_version_tag(MODEL_NAME, str(version), PENDING_TAG)
    with contextlib.suppress(OSError):  # nobody reads stdout any more
        for line in lines:
            print(f"register: {line}", flush=True)


def dataset_tags(card: dict[str, Any]) -> dict[str, str]:
    """Return the tags of a version: what its model.json says about the dataset."""
    return {f"dataset.{key}": str(card["dataset"][key]) for key in ("source", "synthetic", "fingerprint")}


def _source(client: "MlflowClient", version: int) -> str:
    return client.get_model_version(MODEL_NAME, str(version)).tags.get(SOURCE_TAG, "unknown data")


def relative_uri(client: "MlflowClient", uri: str) -> str:
    """Return a version's URI for the registry: a local path relative to the registry's folder, so that both can be moved."""
    folder = registry_folder(client.tracking_uri)
    return os.path.relpath(uri, folder) if folder and is_local_path(uri) else uri


def resolve(client: "MlflowClient", uri: str) -> str:
    """Return a version's URI with an absolute path; that of an early model is absolute already."""
    folder = registry_folder(client.tracking_uri)
    return os.path.normpath(folder / uri) if folder and is_local_path(uri) else uri


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
