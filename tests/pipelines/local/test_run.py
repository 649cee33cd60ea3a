"""Runs of the whole pipeline on the local runner: the same object is compiled for Kubeflow."""

import csv
import fcntl
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from brain_tumor.model_card import MODEL_NAME
from components.registry import CHAMPION, PENDING_TAG, SOURCE_TAG, connect, get_champion, next_version, registry_uri
from components.uris import sqlite_uri
from pipelines.local.run import _promote, main
from pipelines.local.unfinished import delete_unfinished
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
    assert "log kept in " in failed.stderr
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


def register_pending(runs: Path, started: str) -> int:
    """Register a version as a run does that is killed just before it moves the alias; return its number."""
    client = connect(registry_uri(runs))
    if not client.search_registered_models():
        client.create_registered_model(MODEL_NAME)
    version = next_version(client)
    tags = {PENDING_TAG: "true", SOURCE_TAG: "scans"}
    client.create_model_version(MODEL_NAME, source=f"models/{MODEL_NAME}/{version}", tags=tags)
    store = runs / "models" / MODEL_NAME / str(version)
    store.mkdir(parents=True)
    (runs / started).mkdir()
    (runs / started / "registered.json").write_text(json.dumps({"name": MODEL_NAME, "version": version, "uri": str(store)}))
    return version


def test_run_killed_before_the_alias_is_deleted_and_one_killed_after_it_is_kept(new_runs: Path) -> None:
    client = connect(registry_uri(new_runs))
    kept = register_pending(new_runs, "20260101T000000000000Z")
    client.set_registered_model_alias(MODEL_NAME, CHAMPION, str(kept))
    register_pending(new_runs, "20260102T000000000000Z")
    (new_runs / ".20260103T000000000000Z.partial").mkdir()
    (new_runs / "models" / MODEL_NAME / ".3.partial").mkdir()
    deleted = [
        *(new_runs / ".20260103T000000000000Z.partial", new_runs / "20260102T000000000000Z"),
        new_runs / "models" / MODEL_NAME / ".3.partial",
    ]
    assert delete_unfinished(new_runs, client, owns_registry=True) == ["version 2", *map(str, deleted)]
    assert sorted(path.name for path in new_runs.rglob("*") if path.is_dir()) == [
        *("1", "20260101T000000000000Z", MODEL_NAME, "models")
    ]
    (champion,) = client.search_model_versions(f"name='{MODEL_NAME}'")
    assert int(champion.version) == kept
    assert PENDING_TAG not in champion.tags, "or the next champion's run would delete it"
    assert delete_unfinished(new_runs, client, owns_registry=True) == []


def test_run_killed_before_the_alias_of_a_shared_registry_deletes_its_own_version_alone(new_runs: Path, tmp_path: Path) -> None:
    client = connect(registry_uri(new_runs))
    for started in ("20260101T000000000000Z", "20260102T000000000000Z", "20260103T000000000000Z"):
        register_pending(new_runs, started)
    shutil.rmtree(new_runs / "20260101T000000000000Z")  # as if its run were in another folder
    partial = (new_runs / "20260103T000000000000Z").rename(new_runs / ".20260103T000000000000Z.partial")
    (partial / "steps" / "brain-tumor" / "register").mkdir(parents=True)
    (partial / "registered.json").rename(partial / "steps" / "brain-tumor" / "register" / "registered")
    torn = new_runs / ".20260104T000000000000Z.partial" / "steps" / "brain-tumor" / "register"
    torn.mkdir(parents=True)
    (torn / "registered").write_text('{"name": "bra')
    deleted = delete_unfinished(new_runs, client, owns_registry=False)
    assert deleted[:2] == ["version 2", "version 3"]
    assert len(deleted) == 5
    assert [version.version for version in client.search_model_versions(f"name='{MODEL_NAME}'")] == [1]
    assert [path.name for path in (new_runs / "models" / MODEL_NAME).iterdir()] == ["1"]
    assert [path.name for path in new_runs.iterdir() if "2026" in path.name] == []


def test_unfinished_version_in_object_storage_is_deleted(new_runs: Path) -> None:
    client = connect(registry_uri(new_runs))
    client.create_registered_model(MODEL_NAME)
    store = new_runs / "store" / MODEL_NAME / "1"
    store.mkdir(parents=True)
    (store / "saved_model.pb").touch()
    client.create_model_version(MODEL_NAME, source=f"local://{store}", tags={PENDING_TAG: "true"})
    assert delete_unfinished(new_runs, client, owns_registry=True) == ["version 1"]
    assert not store.exists()


@pytest.mark.long
def test_failed_deploy_leaves_a_complete_run_whose_model_is_the_champion(new_runs: Path) -> None:
    failed = run(new_runs, "synthetic://?n=40", "min_auc=0", "min_recall=0", "min_class_images=0", "namespace=clinic")
    assert failed.returncode == 1
    assert "deploy: error: " in failed.stdout
    assert "the run failed: deploy failed\nthe model passed the gate and is the champion; run and report are in " in failed.stderr
    client = connect(registry_uri(new_runs))
    champion = get_champion(client)
    assert champion is not None
    assert (Path(champion.uri) / "saved_model.pb").exists()
    assert PENDING_TAG not in client.get_model_version(MODEL_NAME, str(champion.version)).tags
    folder = (new_runs / "latest").resolve()
    assert json.loads((folder / "registered.json").read_text())["version"] == champion.version
    assert (folder / "report.html").exists()
    assert delete_unfinished(new_runs, client, owns_registry=True) == []


def test_report_is_in_place_before_the_alias_moves_and_set_aside_if_it_does_not(new_runs: Path) -> None:
    client = connect(registry_uri(new_runs))
    version = register_pending(new_runs, "20260101T000000000000Z")
    arguments = {"model_store": str(new_runs / "models"), "tracking_uri": registry_uri(new_runs)}
    _promote(client, new_runs / "20260101T000000000000Z", arguments, None)
    champion = get_champion(client)
    assert champion is not None
    assert champion.version == version
    assert PENDING_TAG not in client.get_model_version(MODEL_NAME, str(version)).tags
    register_pending(new_runs, "20260102T000000000000Z")
    client.delete_model_version(MODEL_NAME, "2")
    with pytest.raises(RuntimeError, match=r"the champion stays; report, log and model kept in .*/20260102.*-failed\n"):
        _promote(client, new_runs / "20260102T000000000000Z", arguments, None)
    assert (new_runs / "20260102T000000000000Z-failed" / "model").is_dir()
    assert get_champion(client) == champion


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_of_a_background_job_stops_the_step_and_keeps_nothing(new_runs: Path, number: int) -> None:
    """Only the run itself gets the signals, in the middle of a step and while it cleans up."""
    background_job = [*IGNORING_SIGINT, *command(new_runs, "synthetic://?n=400")]
    with subprocess.Popen(background_job, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ingest: ")
        for _ in range(20):
            process.send_signal(number)
            time.sleep(0.01)
        _, stderr = process.communicate(timeout=240)
    assert process.returncode in (130, -number), "the latter if Python has restored the handlers"
    assert stderr == "\ninterrupted: nothing of this run is kept\n"
    assert {path.name for path in new_runs.iterdir()} == {".lock", "mlflow.db", "models"}
    assert list((new_runs / "models").iterdir()) == []
    assert [each for each in running_commands() if str(new_runs) in each] == []


def strip_colour(text: str) -> str:
    for code in ("\x1b[96m", "\x1b[92m", "\x1b[91m", "\x1b[95m", "\x1b[0m"):
        text = text.replace(code, "")
    return text
