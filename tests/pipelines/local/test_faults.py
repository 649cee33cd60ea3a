"""Runs whose disk fills or whose registry is locked or read-only in the middle of a step."""

import contextlib
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from components.registry import RegisteredVersion, connect, get_champion, registry_uri
from tests.conftest import ROOT
from tests.disks import fill, make_room, read_only, small_disk
from tests.pipelines.conftest import ENVIRONMENT, command
from tests.pipelines.local.test_run import strip_colour

PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
PASSING = ("min_auc=0", "min_recall=0", "min_class_images=0")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_disk(tmp_path_factory.mktemp("mounted") / "disk", 64) as folder:
        yield folder


@pytest.fixture(scope="module")
def runs(disk: Path, empty_registry: Path) -> Path:
    """A folder of runs on a small disk."""
    (disk / "runs").mkdir()
    shutil.copy(empty_registry, disk / "runs")
    return disk / "runs"


def run_with(fault: AbstractContextManager[object], runs: Path, step: str) -> subprocess.CompletedProcess[str]:
    """Run the pipeline; the fault begins with a step and ends with the run."""
    with (
        subprocess.Popen(command(runs, "synthetic://?n=40", *PASSING), env=ENVIRONMENT, text=True, **PIPES) as process,
        contextlib.ExitStack() as ends,
    ):
        ends.callback(process.terminate)
        while process.poll() is None:
            logs = [path.read_text(errors="replace") for path in runs.glob(".2*.partial/run.log")]
            if any(f"Executing task '{step}'" in strip_colour(log) for log in logs):
                ends.enter_context(fault)
                break
            time.sleep(0.05)
        stdout, stderr = process.communicate()
        assert process.returncode is not None
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    fill(disk)
    try:
        yield
    finally:
        make_room(disk)


@contextlib.contextmanager
def locked(database: Path, seconds: float = 0) -> Iterator[None]:
    """Lock a database for some seconds, or for ever."""
    with contextlib.closing(sqlite3.connect(database, check_same_thread=False, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        if seconds:
            threading.Timer(seconds, other.rollback).start()
        yield


def state(runs: Path) -> tuple[RegisteredVersion | None, str]:
    """Return the champion and the last run, after a check that nothing partial is left."""
    champion = get_champion(connect(registry_uri(runs)))
    assert [str(path) for path in runs.rglob(".*.partial")] == []
    if champion:
        assert (Path(champion.uri) / "saved_model.pb").exists()
    return champion, os.readlink(runs / "latest") if (runs / "latest").is_symlink() else ""


def register_as_printed(stderr: str) -> None:
    """Run the commands that a failed run prints."""
    lines = [line.strip() for line in stderr.splitlines() if line.startswith("  .venv/bin/python -m components.")]
    assert lines, stderr
    for line in lines:
        words = [sys.executable, *shlex.split(line)[1:]]
        done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


STEPS = ("ingest", "preprocess", "train", "evaluate", "gate", "register", "summary")
SHORT_STEP = "preprocess"


@pytest.mark.parametrize("step", [pytest.param(step, marks=() if step == SHORT_STEP else pytest.mark.faults) for step in STEPS])
def test_disk_that_fills_in_a_step_is_named_and_the_model_can_be_registered(runs: Path, disk: Path, step: str) -> None:
    before = state(runs)
    failed = run_with(full(disk), runs, step)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    output = failed.stdout + failed.stderr
    at = STEPS.index(step)  # a short step may end before the disk is full
    assert re.search(f"the run failed: ({'|'.join(STEPS[at : at + 2])}) failed", failed.stderr), failed.stderr
    assert "the disk is full, " in output, output
    assert "Traceback" not in output
    assert "Errno" not in output
    assert "Logging error" not in output
    assert state(runs) == before
    kept = sorted(runs.glob("*-failed"))[-1]
    assert f"kept in {kept}" in failed.stderr
    if step in STEPS[STEPS.index("evaluate") :]:
        register_as_printed(failed.stderr)
        champion, latest = state(runs)
        assert champion is not None
        assert champion.version > (before[0].version if before[0] else 0)
        assert latest == before[1]
        assert (kept / "report.html").exists()
    else:
        assert [path.name for path in kept.iterdir()] == ["run.log"]


@pytest.mark.faults
@pytest.mark.parametrize("step", ["evaluate", "register"])
def test_registry_that_stays_locked_ends_the_run_and_the_model_can_be_registered(runs: Path, step: str) -> None:
    before = state(runs)
    failed = run_with(locked(runs / "mlflow.db"), runs, step)
    assert failed.returncode == 1
    assert f"{step}: error: the registry {runs}/mlflow.db cannot be read: database is locked; another program" in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr
    assert state(runs) == before
    register_as_printed(failed.stderr)
    champion, _ = state(runs)
    assert champion is not None
    assert champion.version > (before[0].version if before[0] else 0)


@pytest.mark.faults
@pytest.mark.parametrize("step", ["evaluate", "register"])
def test_registry_that_is_locked_for_five_seconds_is_waited_for(runs: Path, step: str) -> None:
    before, _ = state(runs)
    passed = run_with(locked(runs / "mlflow.db", 5), runs, step)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    champion, latest = state(runs)
    assert champion is not None
    assert champion.version > (before.version if before else 0)
    assert f'"version": {champion.version}' in (runs / latest / "registered.json").read_text()


@pytest.mark.faults
def test_registry_that_turns_read_only_ends_the_run_and_the_model_can_be_registered(runs: Path) -> None:
    before = state(runs)
    failed = run_with(read_only(runs / "mlflow.db"), runs, "register")
    assert failed.returncode == 1
    assert f"register: error: the registry {runs}/mlflow.db cannot be written: attempt to write a readonly" in failed.stdout
    assert state(runs) == before
    register_as_printed(failed.stderr)


@pytest.mark.faults
def test_run_after_all_of_these_works_and_nothing_of_them_is_left_but_what_they_kept(runs: Path) -> None:
    before, _ = state(runs)
    passed = run_with(contextlib.nullcontext(), runs, "none")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    champion, latest = state(runs)
    assert champion is not None
    assert champion.version > (before.version if before else 0)
    client = connect(registry_uri(runs))
    known = {int(version.version) for version in client.search_model_versions()}
    assert {int(path.name) for path in (runs / "models" / "brain-tumor").iterdir()} == known
    others = {path.name for path in runs.iterdir()} - {"latest", ".lock", "mlflow.db", "models", latest}
    assert all(name.endswith("-failed") or re.fullmatch(r"\d+T\d+Z", name) for name in others), others
