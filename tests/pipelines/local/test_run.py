"""Runs of the whole pipeline on the local runner: the same object is compiled for Kubeflow."""

import csv
import fcntl
import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from brain_tumor.model_card import MODEL_NAME
from components.registry import CHAMPION, PENDING_TAG, SOURCE_TAG, connect, get_champion, next_version, registry_uri
from components.uris import sqlite_uri
from pipelines.local.run import _delete_unfinished, _promote, main
from tests.conftest import ROOT
from tests.pipelines.conftest import ENVIRONMENT, IGNORING_SIGINT, command, exit_message, run, running_commands


@pytest.fixture
def new_runs(empty_registry: Path, tmp_path: Path) -> Path:
    """A folder of runs without any run; its registry exists, because MLflow takes seconds to create one."""
    shutil.copy(empty_registry, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def refused(runs: Path, passed: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """A run on the same images after `passed` whose model is not promoted: no image reaches the threshold."""
    return run(runs, "synthetic://?n=40", "threshold=0.999")


def test_run_that_passes_the_gate_registers_and_skips_refuse(runs: Path, passed: subprocess.CompletedProcess[str]) -> None:
    assert passed.returncode == 0, passed.stdout + passed.stderr
    log = next(runs.glob("2*/run.log")).read_text()
    assert "register: brain-tumor version 1 is the champion, trained on synthetic://?n=40&seed=0" in passed.stdout
    assert "Task 'register'" in strip_colour(log)
    assert "deploy: no namespace is given, nothing is deployed\n" in passed.stdout
    assert "refuse" not in {line.split(":")[0] for line in passed.stdout.splitlines()}
    assert "Task 'refuse'" not in strip_colour(log)
    registered = get_champion(connect(sqlite_uri(runs / "mlflow.db")))
    assert registered is not None
    assert registered.uri == str(runs / "models" / "brain-tumor" / "1")


def test_run_keeps_its_artifacts_and_nothing_else(runs: Path, passed: subprocess.CompletedProcess[str]) -> None:
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


def test_run_summary_has_the_metrics_and_the_decision(runs: Path, passed: subprocess.CompletedProcess[str]) -> None:
    metrics = json.loads((min(runs.glob("2*")) / "metrics.json").read_text())["metrics"]
    low, high = metrics["accuracy_interval"]
    assert "  data         40 files: 40 kept" in passed.stdout
    assert (min(runs.glob("2*")) / "summary.md").read_text() in passed.stdout
    assert f"  accuracy     {metrics['accuracy']:.3f}, 95 % interval {low:.3f} to {high:.3f}\n" in passed.stdout
    assert "  decision     promoted: brain-tumor version 1 is the champion\n" in passed.stdout
    assert passed.stdout.rstrip().endswith("Assists a reader and does not replace one. Not for diagnosis.")
    assert "Traceback" not in passed.stdout + passed.stderr


def test_run_whose_model_is_not_promoted_succeeds_and_keeps_the_champion(
    runs: Path, refused: subprocess.CompletedProcess[str]
) -> None:
    assert refused.returncode == 0, refused.stdout + refused.stderr
    folder = (runs / "latest").resolve()
    log = strip_colour((folder / "run.log").read_text())
    assert "Task 'refuse'" in log
    assert "Task 'register'" not in log
    assert "Task 'deploy'" not in log
    assert "refuse: " in refused.stdout
    assert "  decision     not promoted\n" in refused.stdout
    assert "not promoted" in (folder / "report.html").read_text().lower()
    assert (folder / "refused-model" / "saved_model.pb").exists()
    assert not (folder / "registered.json").exists()
    registered = get_champion(connect(sqlite_uri(runs / "mlflow.db")))
    assert registered is not None
    assert registered.version == 1


def test_same_seed_gives_the_same_images_manifest_and_split(runs: Path, refused: subprocess.CompletedProcess[str]) -> None:
    first, second = sorted(runs.glob("2*"))[:2]
    for name in ("manifest.csv", "splits.csv", "images.zip"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_failed_step_runs_the_exit_handler_and_leaves_latest_alone(
    runs: Path, refused: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    before = (runs / "latest").resolve()
    failed = run(runs, str(tmp_path / "missing"))
    assert failed.returncode == 1
    assert "ingest: error: " in failed.stdout
    assert "summary: run failed" in failed.stdout
    assert "the run failed: ingest failed" in failed.stderr
    assert "log and model kept in " in failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
    assert (runs / "latest").resolve() == before
    (kept,) = runs.glob("*-failed")
    assert [path.name for path in kept.iterdir()] == ["run.log"]
    assert "Retrying" not in (kept / "run.log").read_text()
    assert [path.name for path in runs.glob(".*")] == [".lock"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model_store=/dev/null/models"], "model_store /dev/null/models cannot be opened: "),
        (["model_store=s4://bucket"], "model_store s4://bucket cannot be opened: "),
        (["checkpoint_dir=/data/{{$.x}}"], "checkpoint_dir: got {{$, where Kubeflow Pipelines inserts a value"),
        (["tracking_uri=sqlite:////proc/none/mlflow.db"], "the registry at sqlite:////proc/none/mlflow.db cannot be opened"),
    ],
)
def test_unusable_store_or_registry_ends_the_run_before_the_first_step(
    new_runs: Path, settings: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_message(main, *command(new_runs, "synthetic://", *settings)[3:]).startswith(f"error: {message}")
    assert capsys.readouterr().out == ""


def test_second_run_in_the_same_folder_fails_at_once(new_runs: Path) -> None:
    with (new_runs / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        message = exit_message(main, *command(new_runs, "synthetic://")[3:])
    assert message.startswith(f"error: {new_runs}: another run is in progress")


def test_folder_in_place_of_the_link_to_the_last_run_ends_the_run_before_the_first_step(new_runs: Path) -> None:
    (new_runs / "latest").mkdir()
    message = exit_message(main, *command(new_runs, "synthetic://")[3:])
    assert message == f"error: {new_runs}/latest: got a file or folder, expected a link to the last run; move it away"


def register_pending(runs: Path, time: str) -> int:
    """Register a version as a run does that is killed just before it moves the alias; return its number."""
    client = connect(registry_uri(runs))
    if not client.search_registered_models():
        client.create_registered_model(MODEL_NAME)
    version = next_version(client)
    tags = {PENDING_TAG: "true", SOURCE_TAG: "scans"}
    client.create_model_version(MODEL_NAME, source=f"models/{MODEL_NAME}/{version}", tags=tags)
    store = runs / "models" / MODEL_NAME / str(version)
    store.mkdir(parents=True)
    (runs / time).mkdir()
    (runs / time / "registered.json").write_text(json.dumps({"name": MODEL_NAME, "version": version, "uri": str(store)}))
    return version


def test_run_killed_before_the_alias_is_deleted_and_one_killed_after_it_is_kept(
    new_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = connect(registry_uri(new_runs))
    kept = register_pending(new_runs, "20260101T000000000000Z")
    client.set_registered_model_alias(MODEL_NAME, CHAMPION, str(kept))
    register_pending(new_runs, "20260102T000000000000Z")
    (new_runs / ".20260103T000000000000Z.partial").mkdir()
    (new_runs / "models" / MODEL_NAME / ".3.partial").mkdir()
    _delete_unfinished(new_runs, client)
    printed = capsys.readouterr().out
    assert printed.startswith("run: deleted what a killed run left: version 2, ")
    assert sorted(path.name for path in new_runs.rglob("*") if path.is_dir()) == [
        *("1", "20260101T000000000000Z", MODEL_NAME, "latest", "models")
    ]
    assert (new_runs / "latest").resolve().name == "20260101T000000000000Z"
    (champion,) = client.search_model_versions(f"name='{MODEL_NAME}'")
    assert int(champion.version) == kept
    assert PENDING_TAG not in champion.tags, "or the next champion's run would delete it"
    _delete_unfinished(new_runs, client)
    assert capsys.readouterr().out == ""


def test_report_is_in_place_before_the_alias_moves_and_set_aside_if_it_does_not(new_runs: Path) -> None:
    client = connect(registry_uri(new_runs))
    version = register_pending(new_runs, "20260101T000000000000Z")
    _promote(client, new_runs / "20260101T000000000000Z")
    champion = get_champion(client)
    assert champion is not None
    assert champion.version == version
    assert PENDING_TAG not in client.get_model_version(MODEL_NAME, str(version)).tags
    register_pending(new_runs, "20260102T000000000000Z")
    client.delete_model_version(MODEL_NAME, "2")
    with pytest.raises(RuntimeError, match=r"the champion stays; report, log and model kept in .*/20260102.*-failed$"):
        _promote(client, new_runs / "20260102T000000000000Z")
    assert (new_runs / "20260102T000000000000Z-failed" / "model").is_dir()
    assert get_champion(client) == champion


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_of_a_background_job_stops_the_step_and_keeps_nothing(new_runs: Path, number: int) -> None:
    """Only the run itself gets the signal, in the middle of a step."""
    background_job = [*IGNORING_SIGINT, *command(new_runs, "synthetic://?n=400")]
    with subprocess.Popen(background_job, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ingest: ")
        process.send_signal(number)
        _, stderr = process.communicate(timeout=240)
    assert process.returncode == 130
    assert stderr == "\ninterrupted: nothing of this run is kept\n"
    assert {path.name for path in new_runs.iterdir()} == {".lock", "mlflow.db", "models"}
    assert list((new_runs / "models").iterdir()) == []
    assert [each for each in running_commands() if str(new_runs) in each] == []


def strip_colour(text: str) -> str:
    for code in ("\x1b[96m", "\x1b[92m", "\x1b[91m", "\x1b[95m", "\x1b[0m"):
        text = text.replace(code, "")
    return text
