"""Run the pipeline's steps on this machine with the local runner of Kubeflow Pipelines."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from components.errors import describe_disk_error
from components.registry import DEFER_PROMOTION
from pipelines.local.processes import process_group
from pipelines.local.step_log import StepLog

INNER_TASK = re.compile(r"Inner task failed: '([\w-]+)'")
COLOUR = re.compile(r"\x1b\[\d+m")
STOP_SECONDS = 10


def run_steps(outputs: Path, log_path: Path, arguments: dict[str, Any], lock: int) -> None:
    """Run the pipeline.

    Args:
        outputs: Empty folder for the outputs of the steps and their temporary files.
        log_path: Log file to write.
        arguments: Pipeline parameters by name.
        lock: File descriptor of a lock that the steps share.

    Raises:
        RuntimeError: A step failed.
        OSError: The runner itself cannot write.
    """
    from kfp import local

    from pipelines.pipeline import brain_tumor

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(outputs.resolve()))
    with (
        _log_file(log_path) as file,
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
            failure = f"{step[1]} failed" if step else str(error)
            on_disk = [described for line in log.tail if (described := describe_disk_error(line, outputs))]
            raise RuntimeError("\n".join([failure, *(on_disk[-1:] or log.tail)])) from error
    if not log.complete:
        print(f"run: warning: {log_path.name} is not complete: the disk of {log_path.parent} was full", flush=True)


@contextlib.contextmanager
def _log_file(path: Path) -> Iterator[TextIO]:
    """Open a log; what cannot be written at the end is lost, as before the end."""
    file = path.open("w", encoding="utf-8")
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.close()


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
    from pipelines.pipeline import brain_tumor

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
    os.environ[DEFER_PROMOTION] = "1"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def step_output(outputs: Path, name: str) -> Path:
    """Return the path of a task's output: the runner writes to <outputs>/<pipeline run>/<task>/<output>."""
    found = list(outputs.glob(f"*/{name}"))
    if len(found) != 1:
        raise RuntimeError(f"{name}: got {len(found)} outputs, expected 1")
    return found[0]
