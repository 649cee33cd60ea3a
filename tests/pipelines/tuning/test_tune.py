"""The search: real trainings, tiny."""

import contextlib
import re
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from PIL import Image

from pipelines.tuning.search import format_value, read_metrics, run_trial
from tests.conftest import ROOT, DataSet
from tests.pipelines.conftest import TINY

FIXED = {"image_size_px": 32, "filters": 4, "dense_units": 8, "batch_size": 8}


def tune(runs: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.tuning.tune", "--runs", str(runs), "--source", "synthetic://?n=40", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def commands_that_run() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended since
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_two_trials_end_with_a_best_one_and_an_image(tmp_path: Path) -> None:
    done = tune(tmp_path, "--trials", "2", *(word for setting in TINY for word in ("--set", setting)))
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "tune").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [
        *("search.png", "study.db", "trial-0.log", "trial-0.metrics", "trial-1.log", "trial-1.metrics"),
    ]
    study = optuna.load_study(study_name="brain-tumor", storage=f"sqlite:///{folder}/study.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
    for trial in study.trials:
        history = read_metrics(folder / f"trial-{trial.number}.metrics")
        assert len(history["val_auc"]) == 2
        epoch = history["val_loss"].index(min(history["val_loss"]))
        assert trial.value == pytest.approx(history["val_auc"][epoch])
        assert trial.user_attrs["epoch"] == epoch + 1
        assert set(trial.params) == {"learning_rate", "dropout", "l2", "rotation_deg", "zoom"}
    first = study.trials[0].params
    assert first == {"learning_rate": 7e-4, "dropout": 0.5, "l2": 1e-4, "rotation_deg": 15.0, "zoom": 0.1}

    best = max(study.trials, key=lambda trial: (trial.values, -trial.number))
    assert re.search(rf"\n  trial  val_auc  epoch .*\n +{best.number} +{best.value:.4f} ", done.stdout)
    searched = " ".join(f"--set {name}={format_value(value)}" for name, value in best.params.items())
    assert f"  the best: {' '.join(f'--set {setting}' for setting in TINY)} {searched}\n" in done.stdout
    assert f"-m pipelines.local.run --source 'synthetic://?n=40' --set {TINY[0]} " in done.stdout
    assert done.stderr == ""
    assert done.stdout.endswith("Assists a reader and does not replace one. Not for diagnosis.\n")
    with Image.open(folder / "search.png") as image:
        assert image.width > 1000


def test_search_that_is_ended_tells_what_it_found_and_leaves_no_image_and_no_training(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines.tuning.tune", "--runs", str(tmp_path), "--source", "synthetic://?n=40"]
    command += [word for setting in TINY for word in ("--set", setting)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("tune: trial 1 of 20"):
                break
        (folder,) = (tmp_path / "tune").iterdir()
        while not any(f"{folder}/trial-1.metrics" in line for line in commands_that_run()):
            time.sleep(0.05)
        process.terminate()
        said, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert errors == "\ntune: interrupted\n"
    assert "  the best: --set epochs=2 " in said
    left = {path.name for path in folder.iterdir()} - {"trial-1.metrics"}
    assert left == {"search.png", "study.db", "trial-0.log", "trial-0.metrics", "trial-1.log"}
    assert not any(str(folder) in line for line in commands_that_run())


def test_trial_that_falls_behind_is_ended(phantoms: DataSet, tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.ThresholdPruner(lower=1.1, n_warmup_steps=1))
    fixed = FIXED | {"epochs": 500, "early_stopping_patience": 500}
    run_trial(study, study.ask(), shards=phantoms.shards, fixed=fixed, log=tmp_path / "trial.log")
    (trial,) = study.trials
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert list(trial.intermediate_values) == [0, 1]
    assert trial.user_attrs["epoch"] == 2
    reported = read_metrics(tmp_path / "trial.metrics")["val_auc"]
    assert list(trial.intermediate_values.values()) == reported[:2]
    assert len(reported) < 500


def test_trial_that_fails_says_why_and_is_no_result(phantoms: DataSet, tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    run_trial(study, study.ask(), shards=phantoms.shards, fixed={"image_size_px": 8}, log=tmp_path / "trial.log")
    (trial,) = study.trials
    assert trial.state == optuna.trial.TrialState.FAIL
    assert trial.user_attrs["error"] == "train: error: image_size_px is 8, wanted 32 to 1024"


def test_only_epochs_that_are_written_whole_are_read(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "missing") == {}
    (tmp_path / "metrics").write_text("t val_auc=0.500000\nt val_loss=0.7\nt val_auc=0.600000\nt val_lo")
    assert read_metrics(tmp_path / "metrics") == {"val_auc": [0.5], "val_loss": [0.7]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trials", "0"], "error: trials is 0, wanted 1 or more\n"),
        (["--set", "model_store=s3://models"], "error: model_store has no part in a search, wanted one of "),
        (["--set", "dropout=2"], "error: dropout is 2.0, wanted 0 up to, but not, 1\n"),
        (["--source", "/nonexistent/images"], "error: "),
    ],
)
def test_what_cannot_be_searched_is_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    refused = tune(tmp_path, *options)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith(message.rstrip("\n"))
    assert "Traceback" not in refused.stderr
