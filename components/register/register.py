"""Give a model its version: MLflow numbers it, the store holds it, the alias `champion` points at it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_CARD_PATH, MODEL_NAME, read_model_card
from components.files import atomic_write
from components.registry import CHAMPION, RegisteredVersion, as_input_error, get_champion, open_registry_and_store
from components.uris import is_local_path, redact_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "brain-tumor"
SOURCE_TAG = "dataset.source"


def register(model_dir: Path, evaluation_json: Path, *, model_store: str, tracking_uri: str = "") -> RegisteredVersion:
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
    client = open_registry_and_store(model_store, tracking_uri)
    with as_input_error(f"cannot register in {redact_credentials(model_store)}"):
        base = f"{_absolute(model_store).rstrip('/')}/{MODEL_NAME}"
        card = read_model_card(model_dir).document
        run_id = _log_run(client, card, evaluation)
        tags = {f"dataset.{key}": str(card["dataset"][key]) for key in ("source", "synthetic", "fingerprint")}
        version = _next_version(client, base, run_id, tags)
        uri = f"{base}/{version}"
        try:
            _publish(model_dir, uri, completed_card(card, evaluation, version))
        except BaseException:
            client.delete_model_version(MODEL_NAME, str(version))
            raise
        before = get_champion(client)
        client.set_registered_model_alias(MODEL_NAME, CHAMPION, str(version))
    print(f"register: {MODEL_NAME} version {version} is the champion, trained on {tags[SOURCE_TAG]}", flush=True)
    if before:
        data = client.get_model_version(MODEL_NAME, str(before.version)).tags.get(SOURCE_TAG, "unknown data")
        print(f"register: before it was version {before.version}, trained on {data}", flush=True)
    return RegisteredVersion(MODEL_NAME, version, uri)


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
    if is_local_path(uri):
        _reject_existing(uri, Path(uri).exists())
        with atomic_write(Path(uri)) as partial:
            _complete(model_dir, partial, card)
        return
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch) / "model"
        _complete(model_dir, staged, card)
        _upload(staged, uri)


def _reject_existing(uri: str, exists: bool) -> None:
    if exists:
        raise InputError(f"{uri} is there already and the registry does not know of it: move it away")


def _complete(model_dir: Path, target: Path, card: dict[str, Any]) -> None:
    shutil.copytree(model_dir, target)
    (target / MODEL_CARD_PATH).write_text(json.dumps(card, indent=2) + "\n")
    # In a process of its own: this one starts without TensorFlow.
    command = [sys.executable, "-m", "components.verify", str(target)]
    verify = subprocess.run(command, capture_output=True, text=True)
    if verify.returncode:
        said = verify.stderr.strip().splitlines() or [f"verify ended with {verify.returncode}"]
        raise InputError(said[-1])


def _upload(staged: Path, uri: str) -> None:
    """Copy to object storage, which cannot rename: model.json comes last and says that all is there."""
    import fsspec

    files, base = fsspec.core.url_to_fs(uri)
    _reject_existing(uri, files.exists(base))
    paths = [path for path in sorted(staged.rglob("*")) if path.is_file() and path.relative_to(staged) != MODEL_CARD_PATH]
    for path in [*paths, staged / MODEL_CARD_PATH]:
        files.put_file(str(path), f"{base}/{path.relative_to(staged).as_posix()}")


def _absolute(model_store: str) -> str:
    return str(Path(model_store).resolve()) if is_local_path(model_store) else model_store
