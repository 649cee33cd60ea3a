"""A small run of the whole pipeline, shared by the tests that look at it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.local.processes import STOP_SIGNALS

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
TINY = ("architecture=cnn", "epochs=2", "image_size_px=32", "filters=4", "dense_units=8", "batch_size=8")
# A name whose characters mean something in a URI, a pattern, a shell, a template, SQL or the local runner of Kubeflow Pipelines.
ODD_NAME = "-~ 100 %41 %2F a?b#c&d {e} [f]*(g)|'h'\"i\"\\j$k;l`m` <n> python3 é, ."
# Start a command as a shell script starts a background job.
IGNORING_SIGINT = ("/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh")


def command(runs: Path, source: str, *settings: str) -> list[str]:
    command = [sys.executable, "-m", "pipelines.local.run", "--runs", str(runs), "--source", source]
    for setting in (*TINY, *settings):
        command += ["--set", setting]
    return command


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=ENVIRONMENT)


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Restore the signal handlers that a command sets in this process. A SIGHUP counts, even if `nohup` runs the tests."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def exit_message(main: Callable[[], int], *arguments: str) -> str:
    """Run a command in this process and return the message that it exits with, in status 1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["command", *arguments])
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            patch.delenv(name)
        with pytest.raises(SystemExit) as exited:
            main()
    assert isinstance(exited.value.code, str)
    return exited.value.code


def kill_once_training(runs: Path) -> None:
    """Start a run and kill its main process as soon as the training starts; check that the step ends with it."""
    with subprocess.Popen(command(runs, "synthetic://?n=40"), stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as started:
        assert started.stdout is not None
        for line in started.stdout:
            if line.startswith("train: "):
                started.kill()
    assert started.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 3
    while left := [each for each in running_commands() if str(runs) in each]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def running_commands() -> list[str]:
    """Return the command lines of all processes."""
    return [" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs, below one with an odd name."""
    return tmp_path_factory.mktemp("work") / ODD_NAME / "runs"


@pytest.fixture(scope="session")
def passed(runs: Path) -> subprocess.CompletedProcess[str]:
    """A run whose model is promoted, the first of `runs` that completes: the run before it is killed."""
    kill_once_training(runs)
    assert sorted(path.name for path in runs.iterdir() if not path.name.startswith(".")) == ["mlflow.db", "models"]
    assert list((runs / "models").iterdir()) == []
    return run(runs, "synthetic://?n=40", "min_auc=0", "min_recall=0", "min_class_images=0")
