"""Run the pipeline on this machine: `python -m pipelines.local.run --source FOLDER`."""

import argparse
import contextlib
import datetime
import fcntl
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from brain_tumor.errors import InputError
from components.files import atomic_write
from components.registry import open_registry_and_store, registry_uri
from pipelines.compile import compile_pipeline
from pipelines.local.run_summary import run_summary
from pipelines.local.step_log import StepLog
from pipelines.parameters import add_parameter_options, parse_parameters
from pipelines.pipeline import brain_tumor

# What a run leaves to look at: name in the run's folder, and the task and output it comes from.
RUN_ARTIFACTS = {
    "report.html": "evaluate/report",
    "metrics.json": "evaluate/evaluation",
    "ingest.html": "ingest/report",
    "images.zip": "ingest/images",
    "manifest.csv": "ingest/manifest",
    "splits.csv": "preprocess/splits",
    "tensorboard": "train/logs",
}
INNER_TASK = re.compile(r"Inner task failed: '([\w-]+)'")
COLOUR = re.compile(r"\x1b\[\d+m")


def run(runs: Path, arguments: dict[str, Any]) -> Path:
    """Run the pipeline, keep what a person looks at, and point `runs/latest` at it.

    Args:
        runs: the folder of all runs; store and registry are in it.
        arguments: the pipeline's parameters.

    Returns:
        The run's folder: `runs/<time>`.

    Raises:
        InputError: another run is under way in the same folder.
        RuntimeError: a step failed; it has said why, and `runs/latest` still points at the run before.
    """
    started = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    folder = runs / started
    with _exclusive_lock(runs), atomic_write(folder) as partial:
        outputs = partial / "steps"
        outputs.mkdir(parents=True)
        compile_pipeline(partial / "pipeline.yaml")
        try:
            _run_steps(outputs, partial / "run.log", arguments)
        except Exception as error:
            failed = _keep_failure(partial, runs / f"{started}-failed")
            raise RuntimeError(f"{error}\nwhat is left of it: {failed}") from error
        for name, output in RUN_ARTIFACTS.items():
            _output(outputs, output).rename(partial / name)
        _keep_model(outputs, partial)
        shutil.rmtree(outputs)
    with atomic_write(folder / "summary.md") as summary:
        summary.write_text(run_summary(folder))
    _point_latest(runs, folder)
    return folder


@contextlib.contextmanager
def _exclusive_lock(runs: Path) -> Iterator[None]:
    """Hold the folder of runs for one run, and remove what a run that was killed left in it.

    Raises:
        InputError: another run is under way.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another run is under way in {runs}: wait for it, or name another folder with --runs") from error
        for left in runs.glob(".2*.partial"):
            shutil.rmtree(left)
        yield


def _keep_failure(partial: Path, failed: Path) -> Path:
    """Keep the log of a run that failed, and its model where it got that far."""
    failed.mkdir()
    (partial / "run.log").rename(failed / "run.log")
    for model in partial.glob("steps/*/train/model"):
        model.rename(failed / "model")
    return failed


def _run_steps(outputs: Path, log_path: Path, arguments: dict[str, Any]) -> None:
    from kfp import local

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(outputs))
    with (
        log_path.open("w", encoding="utf-8") as file,
        warnings.catch_warnings(),
        _environment_of_steps(outputs / "scratch"),
        _without_retries(),
    ):
        # The runner warns that it uses neither the image nor the accelerator.
        warnings.filterwarnings("ignore", module=r"kfp\.local")
        log = StepLog(file)
        try:
            with contextlib.redirect_stdout(log):
                brain_tumor(**arguments)
        except RuntimeError as error:
            step = INNER_TASK.search(COLOUR.sub("", str(error)))
            raise RuntimeError("\n".join([f"{step[1]} failed" if step else str(error), *log.tail])) from error


@contextlib.contextmanager
def _without_retries() -> Iterator[None]:
    """Leave the retries out: the local runner would wait minutes before it repeats what fails again."""
    spec = brain_tumor.pipeline_spec
    before = type(spec).FromString(spec.SerializeToString())
    for component in (spec.root, *spec.components.values()):
        for task in component.dag.tasks.values():
            task.ClearField("retry_policy")
    try:
        yield
    finally:
        spec.CopyFrom(before)


@contextlib.contextmanager
def _environment_of_steps(scratch: Path) -> Iterator[None]:
    """Let every step, a process of its own, put its temporary files where they go with the run."""
    scratch.mkdir()
    before = dict(os.environ)
    os.environ["TMPDIR"] = str(scratch.resolve())
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _local_defaults(runs: Path) -> dict[str, Any]:
    return {"model_store": str(runs / "models"), "tracking_uri": registry_uri(runs), "gpus": 0}


def _output(outputs: Path, name: str) -> Path:
    """Return what a task wrote; the runner puts it into <outputs>/<pipeline run>/<task>/<output>."""
    found = list(outputs.glob(f"*/{name}"))
    if len(found) != 1:
        raise RuntimeError(f"the run left {len(found)} outputs named {name}, wanted 1")
    return found[0]


def _keep_model(outputs: Path, folder: Path) -> None:
    """Note what was registered; a model that was refused is in no store, so it is kept with the run."""
    registered = list(outputs.glob("*/register/registered"))
    if registered:
        registered[0].rename(folder / "registered.json")
    else:
        _output(outputs, "train/model").rename(folder / "refused-model")


def _point_latest(runs: Path, folder: Path) -> None:
    link = runs / ".latest.partial"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    link.replace(runs / "latest")


def main() -> int:
    """Run the pipeline and print what it came to. A model that the gate refuses is a run that succeeded."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.local.run", description=main.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_parameter_options(parser, source_help="a folder, an archive or an address")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of all runs; default: %(default)s")
    options = parser.parse_args()
    try:
        arguments = _local_defaults(options.runs) | {"source": options.source} | parse_parameters(options.set)
        open_registry_and_store(arguments["model_store"], arguments["tracking_uri"])
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
