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
from components.errors import describe_disk_error
from components.files import atomic_write, check_writable, file_lock
from components.registry import make_champion, open_registry_and_store, registry_uri, runs_folder
from components.registry_file import as_input_error
from components.uris import is_local_path, redact_credentials, sqlite_uri
from pipelines.local.artifacts import how_to_register, keep_artifacts, keep_failure, registered_file
from pipelines.local.processes import stop_as_at_ctrl_c
from pipelines.local.run_summary import REGISTERED, run_summary
from pipelines.local.steps import run_steps
from pipelines.local.unfinished import RUNS, delete_unfinished
from pipelines.parameters import add_parameter_options, parse_parameters, reject_placeholders

if TYPE_CHECKING:
    from mlflow import MlflowClient

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
        RuntimeError: A step failed. It has printed why, and `runs/latest` still points at the previous run, unless the model had
            been registered already.
        KeyboardInterrupt: The run was stopped. Nothing of it is left, unless the message says that it was complete already.
    """
    folder = runs / datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    with _exclusive_lock(runs) as lock:
        client = open_registry_and_store(arguments["model_store"], arguments["tracking_uri"])
        owns_registry = arguments["tracking_uri"] == sqlite_uri(runs / "mlflow.db")
        with as_input_error("what killed runs left cannot be deleted", client):
            deleted = delete_unfinished(runs, client, owns_registry=owns_registry)
        if deleted:
            print(f"run: deleted what a killed run left: {', '.join(deleted)}", flush=True)
        if finished := sorted(path for path in runs.glob(RUNS) if path.is_dir()):
            _point_latest(runs, finished[-1])
        try:
            step_error = _run_and_keep(folder, arguments, lock)
            if (folder / REGISTERED).exists():
                _promote(client, folder, arguments, step_error)
            _point_latest(runs, folder)
            if step_error:
                kept = f"the model passed the gate and is the champion; run and report are in {folder}"
                failure: BaseException | None = RuntimeError(f"{step_error}\n{kept}")
            else:
                failure = None
        except BaseException:
            if not _clean_up(runs, client, owns_registry=owns_registry) or not folder.exists():
                raise
            failure = KeyboardInterrupt(f"too late, the run is complete: {folder}")
            _point_latest(runs, folder)
    if failure:
        raise failure
    return folder


def _run_and_keep(folder: Path, arguments: dict[str, Any], lock: int) -> Exception | None:
    """Run the steps and keep their artifacts, or the log and the model of a run that failed.

    Returns:
        The error of a step after register, such as deploy: the run has all its artifacts, and its model becomes the champion, as
        on Kubeflow.
    """
    from pipelines.compile import compile_pipeline  # slow: it imports kfp

    step_error = None
    with atomic_write(folder) as partial:
        outputs = partial / "steps"
        outputs.mkdir(parents=True)
        compile_pipeline(partial / "pipeline.yaml")
        try:
            step_error = _run_steps(partial, arguments, lock)
            keep_artifacts(partial)
            (partial / "summary.md").write_text(run_summary(partial, folder))
            shutil.rmtree(outputs)
        except Exception as error:
            reason = describe_disk_error(error, folder.parent) if isinstance(error, OSError) else None
            kept = keep_failure(partial, Path(f"{folder}-failed"), arguments)
            raise RuntimeError("\n".join([*_lines(step_error), reason or str(error), *kept])) from error
    return step_error


def _run_steps(partial: Path, arguments: dict[str, Any], lock: int) -> Exception | None:
    """Run the steps; return the error of one after register."""
    try:
        run_steps(partial / "steps", partial / "run.log", arguments, lock)
    except Exception as error:
        if registered_file(partial / "steps") is None:
            raise
        return error
    return None


def _lines(step_error: Exception | None) -> list[str]:
    return [str(step_error)] if step_error else []


def _promote(client: "MlflowClient", folder: Path, arguments: dict[str, Any], step_error: Exception | None) -> None:
    """Make the registered version the champion, the last that can fail: report and run are in place."""
    version = json.loads((folder / REGISTERED).read_text())
    try:
        make_champion(client, version["version"])
    except Exception as error:
        failed = folder.rename(f"{folder}-failed")
        if is_local_path(version["uri"]) and Path(version["uri"]).exists():
            shutil.move(version["uri"], failed / "model")
        kept = f"the champion stays; report, log and model kept in {failed}"
        lines = [*_lines(step_error), str(error), kept, *how_to_register(failed, arguments)]
        raise RuntimeError("\n".join(lines)) from error


def _clean_up(runs: Path, client: "MlflowClient", *, owns_registry: bool) -> bool:
    """Delete what a run leaves that was stopped or failed; return whether it could be deleted."""
    try:
        delete_unfinished(runs, client, owns_registry=owns_registry)
    except Exception as error:
        reason = redact_credentials(str(error)).splitlines() or [type(error).__name__]
        print(f"run: warning: the next run has to delete what this one left: {reason[0]}", flush=True)
        return False
    return True


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


def _local_defaults(runs: Path) -> dict[str, Any]:
    return {"model_store": str(runs / "models"), "tracking_uri": registry_uri(runs), "gpus": 0}


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
    parser.add_argument("--runs", type=runs_folder, default=Path("runs"), help="the folder of all runs; default: %(default)s")
    options = parser.parse_args()
    stop_as_at_ctrl_c()
    try:
        check_writable(options.runs)
        arguments = _local_defaults(options.runs) | {"source": options.source} | parse_parameters(options.set)
        reject_placeholders(arguments)
        folder = run(options.runs, arguments)
        print((folder / "summary.md").read_text(), flush=True)
        return 0
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {describe_disk_error(error, options.runs) or f'{error.filename or options.runs}: {error.strerror}'}")
    except RuntimeError as error:
        sys.exit(f"the run failed: {error}")
    except KeyboardInterrupt as interrupt:
        print(f"\ninterrupted: {str(interrupt) or 'nothing of this run is kept'}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    sys.exit(main())
