"""Run the pipeline on this machine: `python -m pipelines.local.run --source FOLDER`."""

import argparse
import contextlib
import datetime
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.files import atomic_write
from components.registry import delete_pending, make_champion, open_registry_and_store, registry_uri
from components.uris import is_local_path, sqlite_uri
from pipelines.compile import compile_pipeline
from pipelines.local.processes import file_lock, stop_as_at_ctrl_c
from pipelines.local.run_summary import REGISTERED, run_summary
from pipelines.local.steps import run_steps, step_output
from pipelines.parameters import add_parameter_options, parse_parameters, reject_placeholders

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Artifacts that a run keeps: name in the run's folder -> task and output.
RUN_ARTIFACTS = {
    "report.html": "evaluate/report",
    "metrics.json": "evaluate/evaluation",
    "ingest.html": "ingest/report",
    "images.zip": "ingest/images",
    "manifest.csv": "ingest/manifest",
    "splits.csv": "preprocess/splits",
    "tensorboard": "train/logs",
}
LATEST = "latest"


def run(runs: Path, arguments: dict[str, Any]) -> Path:
    """Run the pipeline, keep its artifacts, and point `runs/latest` at them.

    Args:
        runs: The folder of all runs, which also contains model store and registry.
        arguments: Pipeline parameters by name.

    Returns:
        The run's folder, `runs/<time>`.

    Raises:
        InputError: Another run is in progress in the same folder, or registry or model store cannot be used.
        RuntimeError: A step failed. It has printed why, and `runs/latest` still points at the previous run.
    """
    started = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    folder = runs / started
    with _exclusive_lock(runs) as lock:
        client = open_registry_and_store(arguments["model_store"], arguments["tracking_uri"])
        if arguments["tracking_uri"] == sqlite_uri(runs / "mlflow.db"):
            _delete_unfinished(runs, client)
        with atomic_write(folder) as partial:
            outputs = partial / "steps"
            outputs.mkdir(parents=True)
            compile_pipeline(partial / "pipeline.yaml")
            try:
                run_steps(outputs, partial / "run.log", arguments, lock)
            except Exception as error:
                failed = _keep_failure(partial, runs / f"{started}-failed")
                raise RuntimeError(f"{error}\nlog and model kept in {failed}") from error
            for name, output in RUN_ARTIFACTS.items():
                step_output(outputs, output).rename(partial / name)
            _keep_model(outputs, partial)
            shutil.rmtree(outputs)
            (partial / "summary.md").write_text(run_summary(partial, folder))
        if (folder / REGISTERED).exists():
            _promote(client, folder)
        _point_latest(runs, folder)
    return folder


def _promote(client: "MlflowClient", folder: Path) -> None:
    """Make the registered version the champion, the last that can fail: report and run are in place."""
    version = json.loads((folder / REGISTERED).read_text())
    try:
        make_champion(client, version["version"])
    except Exception as error:
        failed = folder.rename(f"{folder}-failed")
        if is_local_path(version["uri"]) and Path(version["uri"]).exists():
            shutil.move(version["uri"], failed / "model")
        raise RuntimeError(f"{error}\nthe champion stays; report, log and model kept in {failed}") from error


def _delete_unfinished(runs: Path, client: "MlflowClient") -> None:
    """Delete what killed runs left: partial folders, and versions that did not become the champion with the runs of these."""
    deleted = [*runs.glob(".2*.partial"), *(runs / "models" / MODEL_NAME).glob(".*.partial")]
    pending = delete_pending(client)
    deleted += [path.parent for path in runs.glob(f"2*/{REGISTERED}") if json.loads(path.read_text())["version"] in pending]
    for path in deleted:
        shutil.rmtree(path)
    if pending or deleted:
        names = [*(f"version {number}" for number in pending), *(str(path) for path in deleted)]
        print(f"run: deleted what a killed run left: {', '.join(names)}", flush=True)
    if finished := sorted(path for path in runs.glob("2*Z") if path.is_dir()):
        _point_latest(runs, finished[-1])


@contextlib.contextmanager
def _exclusive_lock(runs: Path) -> Iterator[int]:
    """Lock the folder of runs for one run.

    Yields:
        The lock's file descriptor. The folder stays locked until every process that has it ended.

    Raises:
        InputError: Another run is in progress, or the link to the last run has no place.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with file_lock(runs / ".lock") as lock:
        if lock is None:
            raise InputError(f"{runs}: another run is in progress; wait for it or choose another folder with --runs")
        if (runs / LATEST).exists() and not (runs / LATEST).is_symlink():
            raise InputError(f"{runs / LATEST}: got a file or folder, expected a link to the last run; move it away")
        yield lock


def _keep_failure(partial: Path, failed: Path) -> Path:
    """Keep the log of a failed run, and its model if there is one."""
    failed.mkdir()
    (partial / "run.log").rename(failed / "run.log")
    for model in partial.glob("steps/*/train/model"):
        model.rename(failed / "model")
    return failed


def _local_defaults(runs: Path) -> dict[str, Any]:
    return {"model_store": str(runs / "models"), "tracking_uri": registry_uri(runs), "gpus": 0}


def _keep_model(outputs: Path, folder: Path) -> None:
    """Keep the registered version; keep the model itself if it was not promoted, because then it is in no store."""
    registered = list(outputs.glob("*/register/registered"))
    if registered:
        registered[0].rename(folder / REGISTERED)
    else:
        step_output(outputs, "train/model").rename(folder / "refused-model")


def _point_latest(runs: Path, folder: Path) -> None:
    """Point the link `latest` at a run; it is a convenience, so that a failure is a warning."""
    link = runs / f".{LATEST}.partial"
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name)
        link.replace(runs / LATEST)
    except OSError as error:
        print(f"run: warning: {runs / LATEST} does not point at {folder.name}: {error.strerror}", flush=True)


def main() -> int:
    """Run the pipeline and print its summary. A run whose model is not promoted has succeeded, too."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.local.run", description=main.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_parameter_options(parser, source_help="a folder, an archive or a URI")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of all runs; default: %(default)s")
    options = parser.parse_args()
    stop_as_at_ctrl_c()
    try:
        arguments = _local_defaults(options.runs) | {"source": options.source} | parse_parameters(options.set)
        reject_placeholders(arguments)
        folder = run(options.runs, arguments)
        print((folder / "summary.md").read_text(), flush=True)
        return 0
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or options.runs}: {error.strerror}")
    except RuntimeError as error:
        sys.exit(f"the run failed: {error}")
    except KeyboardInterrupt:
        print("\ninterrupted: nothing of this run is kept", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    sys.exit(main())
