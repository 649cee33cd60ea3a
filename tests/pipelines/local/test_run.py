"""The pipeline itself, on the local runner: the same object that is compiled for Kubeflow."""

import csv
import json
import subprocess
from pathlib import Path

import pytest

from components.registry import connect, get_champion
from tests.conftest import ROOT
from tests.pipelines.conftest import run


@pytest.fixture(scope="module")
def refused(runs: Path, passed: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """A run on the same images that the gate refuses, for no image reaches the threshold; after `passed`."""
    return run(runs, "synthetic://?n=40", "threshold=0.999")


def test_run_that_passes_registers_and_does_not_refuse(runs: Path, passed: subprocess.CompletedProcess[str]) -> None:
    assert passed.returncode == 0, passed.stdout + passed.stderr
    log = next(runs.glob("2*/run.log")).read_text()
    assert "register: brain-tumor version 1 is the champion, trained on synthetic://?n=40&seed=0" in passed.stdout
    assert "Task 'register'" in strip_colour(log)
    assert "deploy: no namespace is given, nothing is deployed\n" in passed.stdout
    assert "refuse" not in {line.split(":")[0] for line in passed.stdout.splitlines()}
    assert "Task 'refuse'" not in strip_colour(log)
    registered = get_champion(connect(f"sqlite:///{runs}/mlflow.db"))
    assert registered is not None
    assert registered.uri == str(runs / "models" / "brain-tumor" / "1")


def test_run_leaves_what_a_person_looks_at_and_no_more(runs: Path, passed: subprocess.CompletedProcess[str]) -> None:
    folder = min(runs.glob("2*"))
    assert {path.name for path in folder.iterdir()} == {
        *("report.html", "ingest.html", "metrics.json", "manifest.csv", "splits.csv", "images.zip"),
        *("pipeline.yaml", "registered.json", "summary.md", "run.log", "tensorboard"),
    }
    assert (folder / "pipeline.yaml").read_text() == (ROOT / "pipelines" / "brain_tumor.yaml").read_text()
    with (folder / "splits.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 40
    assert list(rows[0]) == ["sha256", "group", "label", "split"]


def test_closing_table_holds_what_was_computed(runs: Path, passed: subprocess.CompletedProcess[str]) -> None:
    metrics = json.loads((min(runs.glob("2*")) / "metrics.json").read_text())["metrics"]
    low, high = metrics["accuracy_interval"]
    assert "  data         40 files: 40 kept" in passed.stdout
    assert (min(runs.glob("2*")) / "summary.md").read_text() in passed.stdout
    assert f"  accuracy     {metrics['accuracy']:.3f}, 95 % interval {low:.3f} to {high:.3f}\n" in passed.stdout
    assert "  verdict      passed: brain-tumor version 1 is the champion\n" in passed.stdout
    assert passed.stdout.rstrip().endswith("Assists a reader and does not replace one. Not for diagnosis.")
    assert "Traceback" not in passed.stdout + passed.stderr


def test_refused_run_succeeds_registers_nothing_and_keeps_the_champion(
    runs: Path, refused: subprocess.CompletedProcess[str]
) -> None:
    assert refused.returncode == 0, refused.stdout + refused.stderr
    folder = (runs / "latest").resolve()
    log = strip_colour((folder / "run.log").read_text())
    assert "Task 'refuse'" in log
    assert "Task 'register'" not in log
    assert "Task 'deploy'" not in log
    assert "refuse: " in refused.stdout
    assert "  verdict      refused\n" in refused.stdout
    assert "refused" in (folder / "report.html").read_text().lower()
    assert (folder / "refused-model" / "saved_model.pb").exists()
    assert not (folder / "registered.json").exists()
    registered = get_champion(connect(f"sqlite:///{runs}/mlflow.db"))
    assert registered is not None
    assert registered.version == 1


def test_same_seed_gives_the_same_manifest_and_split(runs: Path, refused: subprocess.CompletedProcess[str]) -> None:
    first, second = sorted(runs.glob("2*"))[:2]
    for name in ("manifest.csv", "splits.csv", "images.zip"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_step_that_fails_runs_the_exit_handler_and_leaves_latest_alone(
    runs: Path, refused: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    before = (runs / "latest").resolve()
    failed = run(runs, str(tmp_path / "missing"))
    assert failed.returncode == 1
    assert "ingest: error: " in failed.stdout
    assert "summary: run failed" in failed.stdout
    assert "the run failed: ingest failed" in failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
    assert (runs / "latest").resolve() == before
    (left,) = runs.glob("*-failed")
    assert [path.name for path in left.iterdir()] == ["run.log"]
    assert "Retrying" not in (left / "run.log").read_text()
    assert [path.name for path in runs.glob(".*")] == [".lock"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model_store=/dev/null/models"], "model_store /dev/null/models cannot be used: "),
        (["model_store=s4://bucket"], "model_store s4://bucket cannot be used: "),
        (["tracking_uri=sqlite:////proc/none/mlflow.db"], "the registry at sqlite:////proc/none/mlflow.db does not answer"),
    ],
)
def test_store_or_registry_that_cannot_be_used_is_known_before_the_first_step(
    tmp_path: Path, settings: list[str], message: str
) -> None:
    failed = run(tmp_path / "runs", "synthetic://", *settings)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"error: {message}")
    assert failed.stdout == ""


def test_second_run_in_the_same_folder_waits_for_no_one(tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        failed = run(tmp_path, "synthetic://")
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"error: another run is under way in {tmp_path}")


def strip_colour(text: str) -> str:
    for code in ("\x1b[96m", "\x1b[92m", "\x1b[91m", "\x1b[95m", "\x1b[0m"):
        text = text.replace(code, "")
    return text
