"""Delete what runs left that were killed, stopped or failed before their model became the champion."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from brain_tumor.model_card import MODEL_NAME
from components.files import partial_path
from components.registry import EXPERIMENT, PENDING_TAG, RUN_TAG, RegisteredVersion, get_champion, resolve
from components.uris import is_local_path, signature_uri
from pipelines.local.run_summary import REGISTERED

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUNS = "2*Z"
PARTIAL_RUNS = f".{RUNS}.partial"


def delete_unfinished(runs: Path, client: "MlflowClient", *, owns_registry: bool) -> list[str]:
    """Delete partial folders, registered versions that did not become the champion, and the runs of these versions.

    A call that is killed leaves enough for the next one to complete it.

    Args:
        runs: The folder of all runs, which the caller has locked.
        client: Client of the registry.
        owns_registry: Whether only runs in this folder register there, so that every such version is theirs, also after the
            folder was moved. Otherwise a version is theirs if a `registered.json` in the folder has its URI.

    Returns:
        The names of what was deleted.
    """
    complete = {path.parent: read_registered(path) for path in runs.glob(f"{RUNS}/{REGISTERED}")}
    partial = [path for name in (REGISTERED, "steps/*/register/registered") for path in runs.glob(f"{PARTIAL_RUNS}/{name}")]
    uris = {each.uri for each in (*complete.values(), *map(read_registered, partial)) if each}
    pending = [version for version in _pending_versions(client) if owns_registry or version.uri in uris]
    keys = {version.version if owns_registry else version.uri for version in pending}
    unfinished = [path for path, each in complete.items() if each and (each.version if owns_registry else each.uri) in keys]
    for folder in unfinished:
        folder.rename(partial_path(folder))
    for version in pending:
        _delete_version(client, version)
    if owns_registry:
        _delete_mlflow_runs(client)
    left = {*runs.glob(PARTIAL_RUNS), *(runs / "models" / MODEL_NAME).glob(".*.partial")}
    for path in left:
        shutil.rmtree(path)
    folders = left - set(map(partial_path, unfinished)) | set(unfinished)
    return [*(f"version {version.version}" for version in pending), *sorted(map(str, folders))]


def read_registered(path: Path) -> RegisteredVersion | None:
    """Return the version in a file that the register step wrote; None if the step was killed while it did."""
    try:
        return RegisteredVersion(**json.loads(path.read_text()))
    except ValueError:
        return None


def _pending_versions(client: "MlflowClient") -> list[RegisteredVersion]:
    """Return the versions that never became the champion; untag one that did before its run was killed."""
    champion = get_champion(client)
    pending = []
    for version in client.search_model_versions(f"name='{MODEL_NAME}'"):
        if PENDING_TAG not in version.tags:
            continue
        if champion and champion.version == int(version.version):
            client.delete_model_version_tag(MODEL_NAME, version.version, PENDING_TAG)
            continue
        pending.append(RegisteredVersion(MODEL_NAME, int(version.version), resolve(client, version.source)))
    return sorted(pending, key=lambda version: version.version)


def _delete_version(client: "MlflowClient", version: RegisteredVersion) -> None:
    if is_local_path(version.uri):
        for path in (Path(version.uri), partial_path(Path(version.uri))):
            shutil.rmtree(path, ignore_errors=True)
        Path(signature_uri(version.uri)).unlink(missing_ok=True)
    else:
        import fsspec

        files, base = fsspec.core.url_to_fs(version.uri)
        if files.exists(base):
            files.rm(base, recursive=True)
    client.delete_model_version(MODEL_NAME, str(version.version))


def _delete_mlflow_runs(client: "MlflowClient") -> None:
    """Delete the MLflow runs that register made and that belong to no version: it was killed, or its version is deleted."""
    if experiment := client.get_experiment_by_name(EXPERIMENT):
        of_versions = {version.run_id for version in client.search_model_versions(f"name='{MODEL_NAME}'")}
        for run in client.search_runs([experiment.experiment_id], f"tags.{RUN_TAG} = 'true'"):
            if run.info.run_id not in of_versions:
                client.delete_run(run.info.run_id)
