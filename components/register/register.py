"""Register a model: MLflow numbers the version, the model store keeps it, the alias `champion` points at it."""

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
from components.registry import (
    DEFER_PROMOTION,
    PENDING_TAG,
    RegisteredVersion,
    as_input_error,
    make_champion,
    next_version,
    open_registry_and_store,
    reject_existing,
    relative_uri,
)
from components.uris import is_local_path, redact_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "brain-tumor"


def register(model_dir: Path, evaluation_json: Path, *, model_store: str, tracking_uri: str = "") -> RegisteredVersion:
    """Number a model version, complete its model.json, verify it, copy it to the store and make it the champion.

    The alias moves last: a killed step leaves at most a number without a model, never a partial model. A run on this machine
    moves it itself, once its report is in place (`DEFER_PROMOTION`).

    Args:
        model_dir: The SavedModel that train exported.
        evaluation_json: The evaluation.json of evaluate.
        model_store: A folder or a URI (s3://, gs://). The version becomes `<model_store>/brain-tumor/<version>`.
        tracking_uri: URI of the MLflow registry; MLFLOW_TRACKING_URI if empty.

    Raises:
        InputError: Registry or store cannot be opened, or the model violates the model contract.
    """
    evaluation = json.loads(evaluation_json.read_text())
    client = open_registry_and_store(model_store, tracking_uri)
    with as_input_error(f"cannot register in {redact_credentials(model_store)}"):
        card = read_model_card(model_dir).document
        tags = {f"dataset.{key}": str(card["dataset"][key]) for key in ("source", "synthetic", "fingerprint")}
        tags[PENDING_TAG] = "true"
        base = f"{_absolute(model_store).rstrip('/')}/{MODEL_NAME}"
        version = _create_version(client, relative_uri(client, base), _log_run(client, card, evaluation), tags)
        registered = RegisteredVersion(MODEL_NAME, version, f"{base}/{version}")
        try:
            _publish(model_dir, registered.uri, completed_card(card, evaluation, version))
        except BaseException:
            client.delete_model_version(MODEL_NAME, str(version))
            raise
    if DEFER_PROMOTION not in os.environ:
        make_champion(client, version)
    return registered


def completed_card(card: dict[str, Any], evaluation: dict[str, Any], version: int) -> dict[str, Any]:
    """Return model.json with the version number and the results of the evaluation."""
    metrics = evaluation["metrics"] | {key: evaluation[key] for key in ("images", "groups", "calibration", "roc", "per_class")}
    return card | {
        "version": version,
        "metrics": metrics,
        "confusion": evaluation["confusion"],
        "reference": evaluation["reference"],
    }


def _log_run(client: "MlflowClient", card: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """Log dataset and metrics to the MLflow run MLFLOW_RUN_ID, or to a new run if it is unset; return the run's id."""
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


def _create_version(client: "MlflowClient", base: str, run_id: str, tags: dict[str, str]) -> int:
    """Create a version and return its number. Its URI contains the number, which MLflow assigns: predict it, then check."""
    if not client.search_registered_models(filter_string=f"name='{MODEL_NAME}'"):
        client.create_registered_model(MODEL_NAME)
    expected = next_version(client)
    while True:
        created = client.create_model_version(MODEL_NAME, source=f"{base}/{expected}", run_id=run_id, tags=tags)
        if int(created.version) == expected:
            return expected
        client.delete_model_version(MODEL_NAME, created.version)
        expected = int(created.version) + 1


def _publish(model_dir: Path, uri: str, card: dict[str, Any]) -> None:
    """Store the completed and verified model at `uri`, entirely or not at all."""
    if is_local_path(uri):
        reject_existing(uri, Path(uri).exists())
        with atomic_write(Path(uri)) as partial:
            _complete(model_dir, partial, card)
        return
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch) / "model"
        _complete(model_dir, staged, card)
        _upload(staged, uri)


def _complete(model_dir: Path, target: Path, card: dict[str, Any]) -> None:
    """Copy the model to `target`, with `card` as its model.json, and verify the copy."""
    shutil.copytree(model_dir, target)
    (target / MODEL_CARD_PATH).write_text(json.dumps(card, indent=2) + "\n")
    # A separate process, because this one does without TensorFlow.
    verify = subprocess.run([sys.executable, "-m", "components.verify", str(target)], capture_output=True, text=True)
    if verify.returncode:
        errors = verify.stderr.strip().splitlines() or [f"verify ended with status {verify.returncode}"]
        raise InputError(errors[-1])


def _upload(staged: Path, uri: str) -> None:
    """Upload to object storage. It cannot rename, so model.json comes last: it marks the version as complete."""
    import fsspec

    files, base = fsspec.core.url_to_fs(uri)
    reject_existing(uri, files.exists(base))
    paths = [path for path in sorted(staged.rglob("*")) if path.is_file() and path.relative_to(staged) != MODEL_CARD_PATH]
    for path in [*paths, staged / MODEL_CARD_PATH]:
        files.put_file(str(path), f"{base}/{path.relative_to(staged).as_posix()}")


def _absolute(model_store: str) -> str:
    return str(Path(model_store).resolve()) if is_local_path(model_store) else model_store
