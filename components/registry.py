"""The model registry: MLflow's client, the alias `champion`, and where a version's files are."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.uris import is_local_path, redact_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"


@dataclass(frozen=True)
class RegisteredVersion:
    """A version in the store."""

    name: str
    version: int
    uri: str


def open_registry_and_store(model_store: str, tracking_uri: str = "") -> "MlflowClient":
    """Return a client of the registry if both it and the store can be used: worth knowing before a training, too.

    Raises:
        InputError: see `connect`; or a store that cannot be opened, or one that the registry cannot hold.
    """
    client = connect(tracking_uri)
    if is_local_path(model_store) and client.tracking_uri.startswith("http"):
        raise InputError(f"an MLflow server takes no local path: model_store is {model_store}, wanted s3:// or gs://")
    with as_input_error(f"model_store {redact_credentials(model_store)} cannot be used"):
        if is_local_path(model_store):
            Path(model_store).mkdir(parents=True, exist_ok=True)
        else:
            import fsspec

            fsspec.core.url_to_fs(model_store)
    return client


@contextlib.contextmanager
def as_input_error(what: str) -> Iterator[None]:
    """Say what failed in one line, whichever library it failed in."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except InputError:
        raise
    except (OSError, ImportError, ValueError, MlflowException) as error:
        raise InputError(f"{what}: {redact_credentials(str(error)).splitlines()[0]}") from error


def registry_uri(runs: Path) -> str:
    """Return the address in MLFLOW_TRACKING_URI, else that of the registry in a folder of runs."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(runs / 'mlflow.db').resolve()}"


def connect(tracking_uri: str = "") -> "MlflowClient":
    """Return a client of the registry at `tracking_uri`, or at MLFLOW_TRACKING_URI.

    Raises:
        InputError: neither is set, or nothing answers there.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    import sqlalchemy.exc
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    address = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not address:
        raise InputError("no registry: set MLFLOW_TRACKING_URI, or give tracking_uri (for example sqlite:///runs/mlflow.db)")
    try:
        if address.startswith("sqlite:///"):
            Path(address.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=address, registry_uri=address)
        client.search_registered_models(max_results=1)
    except (OSError, ImportError, MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
        raise InputError(f"the registry at {redact_credentials(address)} does not answer: {type(error).__name__}") from error
    return client


def get_champion(client: "MlflowClient") -> RegisteredVersion | None:
    """Return the version the alias points at, or None where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        version = client.get_model_version_by_alias(MODEL_NAME, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise InputError(f"the registry does not say which model is the champion: {error.error_code}") from error
    return RegisteredVersion(MODEL_NAME, int(version.version), version.source)


@contextlib.contextmanager
def local_copy(registered: RegisteredVersion) -> Iterator[Path]:
    """Yield a folder that holds the version: the store's own, or one downloaded for as long as it is needed.

    Raises:
        InputError: it cannot be read.
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
