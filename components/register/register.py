"""Register a model: MLflow numbers the version, the model store keeps it, the alias `champion` points at it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain_tumor.errors import InputError
from brain_tumor.file_digests import FILE_DIGESTS, write_file_digests
from brain_tumor.model_card import MODEL_CARD_PATH, MODEL_NAME, read_model_card
from components.errors import room_for
from components.files import atomic_write
from components.registry import (
    DEFER_PROMOTION,
    EXPERIMENT,
    PENDING_TAG,
    RUN_TAG,
    RegisteredVersion,
    dataset_tags,
    make_champion,
    next_version,
    open_registry_and_store,
    reject_existing,
    relative_uri,
)
from components.registry.signatures import read_signing_key, sign
from components.registry_file import as_input_error
from components.uris import is_local_path, redact_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient


def register(model_dir: Path, evaluation_json: Path, *, model_store: str, tracking_uri: str = "") -> RegisteredVersion:
    """Number a model version, complete its model.json, verify it, sign it, copy it to the store and make it the champion.

    The alias moves last: a killed step leaves at most a number without a model, never a partial model. A run on this machine
    moves it itself, once its report is in place (`DEFER_PROMOTION`). Without MODEL_SIGNING_KEY nothing is signed.

    Args:
        model_dir: The SavedModel that train exported.
        evaluation_json: The evaluation.json of evaluate.
        model_store: A folder or a URI (s3://, gs://). The version becomes `<model_store>/brain-tumor/<version>`.
        tracking_uri: URI of the MLflow registry; MLFLOW_TRACKING_URI if empty.

    Raises:
        InputError: Registry or store cannot be opened, the signing key is invalid, or the model violates the model contract.
    """
    evaluation, key = json.loads(evaluation_json.read_text()), read_signing_key()
    with room_for(_size(model_dir), Path(model_store if is_local_path(model_store) else tempfile.gettempdir())):
        client = open_registry_and_store(model_store, tracking_uri)
        registered = _register(client, model_dir, evaluation, model_store, key)
    if DEFER_PROMOTION not in os.environ:
        make_champion(client, registered.version)
    return registered


def _register(
    client: "MlflowClient", model_dir: Path, evaluation: dict[str, Any], model_store: str, key: str
) -> RegisteredVersion:
    """Create a version and copy its model to the store, or neither."""
    from mlflow.exceptions import MlflowException

    with as_input_error(f"cannot register in {redact_credentials(model_store)}", client):
        card = read_model_card(model_dir).document
        tags = dataset_tags(card) | {PENDING_TAG: "true"}
        base = f"{_absolute(model_store).rstrip('/')}/{MODEL_NAME}"
        version = _create_version(client, relative_uri(client, base), _log_run(client, card, evaluation), tags)
        registered = RegisteredVersion(MODEL_NAME, version, f"{base}/{version}")
        try:
            _publish(model_dir, registered.uri, completed_card(card, evaluation, version), key)
        except BaseException:
            with contextlib.suppress(MlflowException):  # the registry's disk may be full, too; the next run deletes the version
                client.delete_model_version(MODEL_NAME, str(version))
            raise
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
    run_id = given or client.create_run(experiment_id, tags={RUN_TAG: "true"}).info.run_id
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


def _publish(model_dir: Path, uri: str, card: dict[str, Any], key: str) -> None:
    """Store the completed and verified model at `uri`, entirely or not at all, and its signature before it."""
    if is_local_path(uri):
        reject_existing(uri, Path(uri).exists())
        with atomic_write(Path(uri)) as partial:
            _complete(model_dir, partial, card)
            _finish(partial, uri, key)
        return
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch) / "model"
        _complete(model_dir, staged, card)
        _finish(staged, uri, key)
        _upload(staged, uri)


def _finish(folder: Path, uri: str, key: str) -> None:
    """Write the digests of all files, and store the signature of these and the digests.

    Raises:
        InputError: A file is empty. KServe's S3 client leaves it out, and the pods would refuse the version.
    """
    if empty := sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.stat().st_size):
        raise InputError(f"{', '.join(empty)}: got no content, expected some: KServe downloads no empty file from S3")
    write_file_digests(folder)
    if key:
        sign(folder, uri, key)


def _complete(model_dir: Path, target: Path, card: dict[str, Any]) -> None:
    """Copy the model to `target`, with `card` as its model.json, and verify the copy."""
    shutil.copytree(model_dir, target)
    (target / FILE_DIGESTS).unlink(missing_ok=True)  # those of a version that is registered once more
    (target / MODEL_CARD_PATH).write_text(json.dumps(card, indent=2) + "\n")
    verify_in_process(target)


def verify_in_process(target: Path) -> None:
    """Check a model folder against the model contract in a separate process, because this one does without TensorFlow.

    Raises:
        InputError: The folder violates the contract.
    """
    verify = subprocess.run([sys.executable, "-m", "components.verify", str(target)], capture_output=True, text=True)
    if verify.returncode:
        errors = verify.stderr.strip().splitlines() or [f"verify ended with status {verify.returncode}"]
        raise InputError(errors[-1])


def _upload(staged: Path, uri: str) -> None:
    """Upload to object storage. It cannot rename, so model.json and the digests, which mark a complete version, come last."""
    import fsspec

    files, base = fsspec.core.url_to_fs(uri)
    reject_existing(uri, files.exists(base))
    last = [MODEL_CARD_PATH, FILE_DIGESTS]
    paths = sorted(path.relative_to(staged) for path in staged.rglob("*") if path.is_file())
    try:
        for path in [*(path for path in paths if path not in last), *last]:
            files.put_file(str(staged / path), f"{base}/{path.as_posix()}")
    except BaseException:
        with contextlib.suppress(Exception):  # or the next version of this number finds them in its place
            files.rm(base, recursive=True)
        raise


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _absolute(model_store: str) -> str:
    return str(Path(model_store).resolve()) if is_local_path(model_store) else model_store
