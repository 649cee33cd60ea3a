"""Give a model its version: MLflow numbers it, the store holds it, the alias `champion` points at it."""

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.addresses import is_local, without_credentials
from components.errors import InputError
from components.files import written_whole
from components.saved_model import CARD, MODEL_NAME, read_model_card

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
EXPERIMENT = "brain-tumor"
SOURCE_TAG = "dataset.source"
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Registered:
    """A version in the store."""

    name: str
    version: int
    uri: str


def register(model_dir: Path, evaluation_json: Path, *, model_store: str, tracking_uri: str = "") -> Registered:
    """Number a model, complete its model.json, verify it, put it into the store and make it the champion.

    The alias moves last: a step that is killed leaves at most a number without a model, never a model half there.

    Args:
        model_dir: the SavedModel that train exported.
        evaluation_json: what evaluate measured.
        model_store: a folder, s3:// or gs://; the version becomes `<model_store>/brain-tumor/<version>`.
        tracking_uri: of MLflow; empty takes MLFLOW_TRACKING_URI.

    Raises:
        InputError: no tracking address, a registry that cannot be reached, or a model that does not keep the contract.
    """
    evaluation = json.loads(evaluation_json.read_text())
    client = open_target(model_store, tracking_uri)
    with _named(f"cannot register in {without_credentials(model_store)}"):
        base = f"{_absolute(model_store).rstrip('/')}/{MODEL_NAME}"
        card = read_model_card(model_dir)
        run_id = _log_run(client, card, evaluation)
        tags = {f"dataset.{key}": str(card["dataset"][key]) for key in ("source", "synthetic", "fingerprint")}
        version = _next_version(client, base, run_id, tags)
        uri = f"{base}/{version}"
        try:
            _publish(model_dir, uri, completed_card(card, evaluation, version))
        except BaseException:
            client.delete_model_version(MODEL_NAME, str(version))
            raise
        before = champion(client)
        client.set_registered_model_alias(MODEL_NAME, CHAMPION, str(version))
    print(f"register: {MODEL_NAME} version {version} is the champion, trained on {tags[SOURCE_TAG]}", flush=True)
    if before:
        data = client.get_model_version(MODEL_NAME, str(before.version)).tags.get(SOURCE_TAG, "unknown data")
        print(f"register: before it was version {before.version}, trained on {data}", flush=True)
    return Registered(MODEL_NAME, version, uri)


def open_target(model_store: str, tracking_uri: str = "") -> "MlflowClient":
    """Return a client of the registry if both it and the store can be used: worth knowing before a training, too.

    Raises:
        InputError: see `connect`; or a store that cannot be opened, or one that the registry cannot hold.
    """
    client = connect(tracking_uri)
    if is_local(model_store) and client.tracking_uri.startswith("http"):
        raise InputError(f"an MLflow server takes no local path: model_store is {model_store}, wanted s3:// or gs://")
    with _named(f"model_store {without_credentials(model_store)} cannot be used"):
        if is_local(model_store):
            Path(model_store).mkdir(parents=True, exist_ok=True)
        else:
            import fsspec

            fsspec.core.url_to_fs(model_store)
    return client


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Say what failed in one line, whichever library it failed in."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except InputError:
        raise
    except (OSError, ImportError, ValueError, MlflowException) as error:
        raise InputError(f"{what}: {without_credentials(str(error)).splitlines()[0]}") from error


def registry_address(runs: Path) -> str:
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
        raise InputError(f"the registry at {without_credentials(address)} does not answer: {type(error).__name__}") from error
    return client


def champion(client: "MlflowClient") -> Registered | None:
    """Return the version the alias points at, or None where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        version = client.get_model_version_by_alias(MODEL_NAME, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise InputError(f"the registry does not say which model is the champion: {error.error_code}") from error
    return Registered(MODEL_NAME, int(version.version), version.source)


@contextlib.contextmanager
def local_copy(registered: Registered) -> Iterator[Path]:
    """Yield a folder that holds the version: the store's own, or one downloaded for as long as it is needed.

    Raises:
        InputError: it cannot be read.
    """
    if is_local(registered.uri):
        yield Path(registered.uri)
        return
    with tempfile.TemporaryDirectory() as scratch:
        with _named(f"{registered.uri} cannot be read"):
            import fsspec

            files, base = fsspec.core.url_to_fs(registered.uri)
            files.get(base, f"{scratch}/model", recursive=True)
        yield Path(scratch) / "model"


def completed_card(card: dict[str, Any], evaluation: dict[str, Any], version: int) -> dict[str, Any]:
    """Return model.json with the version and what was measured."""
    metrics = evaluation["metrics"] | {key: evaluation[key] for key in ("images", "groups", "calibration", "roc", "per_class")}
    return card | {
        "version": version,
        "metrics": metrics,
        "confusion": evaluation["confusion"],
        "reference": evaluation["reference"],
    }


def _log_run(client: "MlflowClient", card: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """Log data set and metrics to the run that MLFLOW_RUN_ID names, else to one of our own; return its id."""
    given = os.environ.get("MLFLOW_RUN_ID")
    if not given:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
    run_id = given or client.create_run(experiment_id).info.run_id
    for name, value in {"architecture": card["architecture"], **card["dataset"]}.items():
        client.log_param(run_id, name if name == "architecture" else f"dataset.{name}", value)
    for name, value in evaluation["metrics"].items():
        if isinstance(value, float):
            client.log_metric(run_id, name, value)
    if not given:
        client.set_terminated(run_id)
    return str(run_id)


def _next_version(client: "MlflowClient", base: str, run_id: str, tags: dict[str, str]) -> int:
    """Take the next number. A version's address holds its number, so the number is foreseen and then checked."""
    if not client.search_registered_models(filter_string=f"name='{MODEL_NAME}'"):
        client.create_registered_model(MODEL_NAME)
    versions = client.search_model_versions(f"name='{MODEL_NAME}'")
    foreseen = 1 + max((int(version.version) for version in versions), default=0)
    while True:
        taken = client.create_model_version(MODEL_NAME, source=f"{base}/{foreseen}", run_id=run_id, tags=tags)
        if int(taken.version) == foreseen:
            return foreseen
        client.delete_model_version(MODEL_NAME, taken.version)
        foreseen = int(taken.version) + 1


def _publish(model_dir: Path, uri: str, card: dict[str, Any]) -> None:
    """Put the completed and verified model at `uri`, whole or not at all."""
    if is_local(uri):
        _refuse_existing(uri, Path(uri).exists())
        with written_whole(Path(uri)) as partial:
            _complete(model_dir, partial, card)
        return
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch) / "model"
        _complete(model_dir, staged, card)
        _upload(staged, uri)


def _refuse_existing(uri: str, exists: bool) -> None:
    if exists:
        raise InputError(f"{uri} is there already and the registry does not know of it: move it away")


def _complete(model_dir: Path, target: Path, card: dict[str, Any]) -> None:
    shutil.copytree(model_dir, target)
    (target / CARD).write_text(json.dumps(card, indent=2) + "\n")
    # In a process of its own: this one starts without TensorFlow.
    command = [sys.executable, "-m", "components.train.verify", str(target)]
    verify = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if verify.returncode:
        said = verify.stderr.strip().splitlines() or [f"verify ended with {verify.returncode}"]
        raise InputError(said[-1])


def _upload(staged: Path, uri: str) -> None:
    """Copy to object storage, which cannot rename: model.json comes last and says that all is there."""
    import fsspec

    files, base = fsspec.core.url_to_fs(uri)
    _refuse_existing(uri, files.exists(base))
    paths = [path for path in sorted(staged.rglob("*")) if path.is_file() and path.relative_to(staged) != CARD]
    for path in [*paths, staged / CARD]:
        files.put_file(str(path), f"{base}/{path.relative_to(staged).as_posix()}")


def _absolute(model_store: str) -> str:
    return str(Path(model_store).resolve()) if is_local(model_store) else model_store
