"""Run the pipeline on this machine: `python -m pipelines.local.run --source FOLDER`."""

import argparse
import contextlib
import datetime
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from brain_tumor.errors import InputError
from components.files import atomic_write
from components.registry import open_registry_and_store, registry_uri
from pipelines.compile import compile_pipeline
from pipelines.local.processes import file_lock, process_group, stop_as_at_ctrl_c
from pipelines.local.run_summary import run_summary
from pipelines.local.step_log import StepLog
from pipelines.parameters import add_parameter_options, parse_parameters, reject_placeholders
from pipelines.pipeline import brain_tumor

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
INNER_TASK = re.compile(r"Inner task failed: '([\w-]+)'")
COLOUR = re.compile(r"\x1b\[\d+m")
STOP_SECONDS = 10


def run(runs: Path, arguments: dict[str, Any]) -> Path:
    """Run the pipeline, keep its artifacts, and point `runs/latest` at them.

    Args:
        runs: The folder of all runs, which also contains model store and registry.
        arguments: Pipeline parameters by name.

    Returns:
        The run's folder, `runs/<time>`.

    Raises:
        InputError: Another run is in progress in the same folder.
        RuntimeError: A step failed. It has printed why, and `runs/latest` still points at the previous run.
    """
    started = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    folder = runs / started
    with _exclusive_lock(runs) as lock, atomic_write(folder) as partial:
        outputs = partial / "steps"
        outputs.mkdir(parents=True)
        compile_pipeline(partial / "pipeline.yaml")
        try:
            _run_steps(outputs, partial / "run.log", arguments, lock)
        except Exception as error:
            failed = _keep_failure(partial, runs / f"{started}-failed")
            raise RuntimeError(f"{error}\nlog and model kept in {failed}") from error
        for name, output in RUN_ARTIFACTS.items():
            _output(outputs, output).rename(partial / name)
        _keep_model(outputs, partial)
        shutil.rmtree(outputs)
    with atomic_write(folder / "summary.md") as summary:
        summary.write_text(run_summary(folder))
    _point_latest(runs, folder)
    return folder


@contextlib.contextmanager
def _exclusive_lock(runs: Path) -> Iterator[int]:
    """Lock the folder of runs for one run, and delete the partial folder of a killed run.

    Yields:
        The lock's file descriptor. The folder stays locked until every process that has it ended.

    Raises:
        InputError: Another run is in progress.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with file_lock(runs / ".lock") as lock:
        if lock is None:
            raise InputError(f"{runs}: another run is in progress; wait for it or choose another folder with --runs")
        for partial in runs.glob(".2*.partial"):
            shutil.rmtree(partial)
        yield lock


def _keep_failure(partial: Path, failed: Path) -> Path:
    """Keep the log of a failed run, and its model if there is one."""
    failed.mkdir()
    (partial / "run.log").rename(failed / "run.log")
    for model in partial.glob("steps/*/train/model"):
        model.rename(failed / "model")
    return failed


def _run_steps(outputs: Path, log_path: Path, arguments: dict[str, Any], lock: int) -> None:
    from kfp import local

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(outputs))
    with (
        log_path.open("w", encoding="utf-8") as file,
        warnings.catch_warnings(),
        _environment_of_steps(outputs / "scratch"),
        _steps_end_with_this_process(lock),
        _without_retries(),
    ):
        # The runner warns that it ignores image and accelerator.
        warnings.filterwarnings("ignore", module=r"kfp\.local")
        log = StepLog(file)
        try:
            with contextlib.redirect_stdout(log):
                brain_tumor(**arguments)
        except RuntimeError as error:
            step = INNER_TASK.search(COLOUR.sub("", str(error)))
            raise RuntimeError("\n".join([f"{step[1]} failed" if step else str(error), *log.tail])) from error


@contextlib.contextmanager
def _steps_end_with_this_process(lock: int) -> Iterator[None]:
    """Replace how the local runner starts a step: in a process group that has the lock and ends when this process does."""
    from kfp.dsl.component_factory import EXECUTOR_MODULE
    from kfp.local.status import Status
    from kfp.local.subprocess_task_handler import SubprocessTaskHandler

    def run_step(handler: SubprocessTaskHandler) -> Status:
        # The runner itself would also replace `python3` in the names of folders.
        script = next(i for i, part in enumerate(handler.full_command) if EXECUTOR_MODULE in part)
        command = list(handler.full_command)
        command[script] = command[script].replace("python3", shlex.quote(sys.executable))
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "bufsize": 1}
        environment = os.environ | handler.env_vars
        with process_group(command, stop_seconds=STOP_SECONDS, pass_fds=[lock], env=environment, **output) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="")
            return Status.SUCCESS if process.wait() == 0 else Status.FAILURE

    original = SubprocessTaskHandler.run
    SubprocessTaskHandler.run = run_step
    try:
        yield
    finally:
        SubprocessTaskHandler.run = original


@contextlib.contextmanager
def _without_retries() -> Iterator[None]:
    """Remove the retries: the local runner would wait minutes and then fail again."""
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
    """Set the environment that the steps' processes inherit; their temporary files go into `scratch`."""
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
    """Return the path of a task's output: the runner writes to <outputs>/<pipeline run>/<task>/<output>."""
    found = list(outputs.glob(f"*/{name}"))
    if len(found) != 1:
        raise RuntimeError(f"{name}: got {len(found)} outputs, expected 1")
    return found[0]


def _keep_model(outputs: Path, folder: Path) -> None:
    """Keep the registered version; keep the model itself if it was not promoted, because then it is in no store."""
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
