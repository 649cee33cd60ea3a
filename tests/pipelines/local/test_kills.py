"""Runs that are killed: champion and report belong together, no process is left, and the next run works and clears up."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from brain_tumor.model_card import MODEL_NAME, read_model_card
from components.ingest.synthetic import write_phantoms
from components.registry import EXPERIMENT, PENDING_TAG, connect, get_champion, registry_uri
from tests.pipelines.conftest import ENVIRONMENT, ODD_NAME, command, running_commands

PROMOTED = ("min_auc=0", "min_recall=0", "min_class_images=0")
PROMOTION = "promotion"  # of the registered version, after the last step
STEPS = ("ingest", "preprocess", "train", "evaluate", "gate", "register", "deploy", "summary", PROMOTION)
POLL_SECONDS = 0.005
REACH_SECONDS = 1200
TASK = re.compile(r"Executing task (?:\x1b\[\d+m)?'([\w-]+)'")
# A statement that takes seconds, so that a kill hits the write before which it is triggered.
SLOW = """CREATE VIEW slow AS
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 8000000) SELECT count(*) AS c FROM n"""
SLOW_WRITES = {
    "slow_insert": "BEFORE INSERT ON registered_model_aliases",
    "slow_update": "BEFORE UPDATE ON registered_model_aliases",
    "slow_delete": f"BEFORE DELETE ON model_version_tags WHEN OLD.key = '{PENDING_TAG}'",
}


class Started:
    """A run in progress, in a folder that may have the remains of another one."""

    def __init__(self, runs: Path, process: subprocess.Popen[str], before: set[Path], champion: int):
        self.runs, self.process, self._before, self.champion = runs, process, before, champion

    @property
    def partial(self) -> Path | None:
        return next(iter(set(self.runs.glob(".2*.partial")) - self._before), None)

    @property
    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.partial / "run.log").read_text() if self.partial else ""
        return ""

    @property
    def in_place(self) -> bool:
        return bool(set(self.runs.glob("2*Z")) - self._before)

    @property
    def step(self) -> str:
        return PROMOTION if self.in_place else (TASK.findall(self.log) or ["none"])[-1]

    def has_output(self, name: str) -> bool:
        return self.partial is not None and any(self.partial.glob(f"steps/*/{name}"))

    def registered(self) -> int:
        """Return the number of versions that are not the champion yet."""
        return len(rows(self.runs, "SELECT 1 FROM model_version_tags WHERE key = ?", PENDING_TAG))

    def moved(self) -> bool:
        return champion_number(self.runs) != self.champion


@dataclass(frozen=True)
class Moment:
    """A moment of a run at which it is killed: its step, whether it has come, and who gets which signal."""

    step: str
    has_come: Callable[[Started], object]
    kill: Callable[[subprocess.Popen[str]], None]


def kill_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def kill_main(process: subprocess.Popen[str]) -> None:
    process.kill()


def stop_main(process: subprocess.Popen[str]) -> None:
    process.terminate()


# In the order of a run, so that the run killed at one moment passes the one before.
MOMENTS = (
    Moment("ingest", lambda run: "ingest: read files" in run.log, kill_group),
    Moment("preprocess", lambda run: run.has_output("preprocess/.shards.partial"), stop_main),
    Moment("train", lambda run: "train: epoch   1 of" in run.log, kill_main),
    Moment("train", lambda run: run.has_output("train/.model.partial"), kill_group),
    Moment("evaluate", lambda run: "evaluate: 8 of 8" in run.log, stop_main),
    Moment("gate", lambda run: run.step == "gate", kill_main),
    Moment("register", lambda run: run.registered(), stop_main),
    Moment("register", lambda run: any((run.runs / "models" / MODEL_NAME).glob(".*.partial/assets.extra/*")), kill_group),
    Moment("deploy", lambda run: run.step == "deploy", kill_main),
    Moment("summary", lambda run: run.step == "summary", stop_main),
    Moment(PROMOTION, lambda run: run.in_place and not run.moved(), kill_main),
    Moment(PROMOTION, lambda run: run.in_place and not run.moved(), stop_main),
    Moment(PROMOTION, lambda run: run.moved() and run.registered(), kill_group),
    Moment(PROMOTION, lambda run: run.moved() and run.registered(), stop_main),
)


def rows(runs: Path, query: str, *values: str) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(f"{runs}/mlflow.db", timeout=60)) as database:
        return database.execute(query, values).fetchall()


def champion_number(runs: Path) -> int:
    return int(rows(runs, "SELECT version FROM registered_model_aliases")[0][0])


@contextlib.contextmanager
def slow_promotion(runs: Path) -> Iterator[None]:
    """Let the registry take seconds to move the alias, and to delete the tag of a version after it."""
    with contextlib.closing(sqlite3.connect(f"{runs}/mlflow.db", timeout=60)) as database:
        database.execute(SLOW)
        for name, event in SLOW_WRITES.items():
            database.execute(f"CREATE TRIGGER {name} {event} BEGIN SELECT c FROM slow; END")
        database.commit()
        try:
            yield
        finally:
            for name in SLOW_WRITES:
                database.execute(f"DROP TRIGGER {name}")
            database.execute("DROP VIEW slow")
            database.commit()


def kill_at(runs: Path, source: Path, moment: Moment) -> str:
    """Start a run and kill it; return the step that was running."""
    before = {*runs.glob(".2*.partial"), *runs.glob("2*Z")}
    slow = slow_promotion(runs) if moment.step == PROMOTION else contextlib.nullcontext()
    starting = command(runs, str(source), *PROMOTED)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with slow, subprocess.Popen(starting, env=ENVIRONMENT, process_group=0, **pipes) as process:
        run = Started(runs, process, before, champion_number(runs))
        deadline = time.monotonic() + REACH_SECONDS
        try:
            while not moment.has_come(run):
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline, run.log[-2000:]
                time.sleep(POLL_SECONDS)
            step = run.step
            of_run = psutil.Process(process.pid).children(recursive=True)
            moment.kill(process)
            process.wait(timeout=60)
        finally:
            process.kill()
        killed_at = time.monotonic()
        assert not {*runs.glob(".2*.partial")} & before, "what the run before left"
        while left := alive(of_run, runs):
            assert time.monotonic() < killed_at + 3, left
            time.sleep(0.05)
        assert process.returncode == (130 if moment.kill is stop_main else -signal.SIGKILL), process.communicate()[0]
    return run.step if run.partial else step


def alive(processes: list[psutil.Process], runs: Path) -> list[str]:
    """Return those that live among some processes and all that have the folder of runs in their command line."""
    found = [line for line in running_commands() if str(runs) in line]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(str(process))
    return found


def check_champion_and_report(runs: Path) -> int:
    """Check that the champion's model, run and report are complete and agree; return its number."""
    champion = get_champion(connect(registry_uri(runs)))
    assert champion is not None
    assert read_model_card(Path(champion.uri)).version == str(champion.version)
    assert (Path(champion.uri) / "saved_model.pb").exists()
    (folder,) = [
        path.parent for path in runs.glob("2*Z/registered.json") if json.loads(path.read_text())["version"] == champion.version
    ]
    assert f"version {champion.version} is the champion" in (folder / "summary.md").read_text()
    assert (folder / "report.html").stat().st_size > 10_000
    return champion.version


def check_nothing_is_left(runs: Path, versions: set[int]) -> None:
    """Check that files and registry have the complete runs and some versions alone."""
    client = connect(registry_uri(runs))
    found = client.search_model_versions(f"name='{MODEL_NAME}'")
    assert {int(version.version) for version in found} == versions
    assert not any(PENDING_TAG in version.tags for version in found)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    assert {run.info.run_id for run in client.search_runs([experiment.experiment_id])} == {version.run_id for version in found}
    assert {path.name for path in (runs / "models" / MODEL_NAME).iterdir()} == set(map(str, versions))
    complete = list(runs.glob("2*Z"))
    assert {path.name for path in runs.iterdir()} == {".lock", "latest", "mlflow.db", "models", *(path.name for path in complete)}
    assert {json.loads((path / "registered.json").read_text())["version"] for path in complete} == versions


def first_run(runs: Path, source: Path) -> None:
    done = subprocess.run(command(runs, str(source), *PROMOTED), capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.faults
def test_run_killed_at_any_moment_leaves_champion_and_report_together_and_the_next_run_clears_up(tmp_path: Path) -> None:
    """Each run is the next one of the run killed before, and gets further; the last one completes."""
    runs, source = tmp_path / "runs", tmp_path / ODD_NAME
    write_phantoms(source, n=40, seed=0)
    first_run(runs, source)
    champions, killed = [check_champion_and_report(runs)], []
    for moment in MOMENTS:
        killed.append(kill_at(runs, source, moment))
        champion = check_champion_and_report(runs)
        if champion != champions[-1]:
            assert moment.step == PROMOTION
            champions.append(champion)
        if moment.kill is stop_main:
            check_nothing_is_left(runs, set(champions))
    assert killed == [moment.step for moment in MOMENTS]
    assert set(killed) == set(STEPS), "a step in which no run is killed"
    first_run(runs, source)
    champions.append(check_champion_and_report(runs))
    check_nothing_is_left(runs, set(champions))
    assert (runs / "latest").resolve() == max(runs.glob("2*Z"))
