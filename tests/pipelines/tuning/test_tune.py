"""A search with real, tiny trainings."""

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
from pipelines.tuning.tune import main
from tests.conftest import DataSet
from tests.pipelines.conftest import TINY, exit_message

FIXED = {"image_size_px": 32, "filters": 4, "dense_units": 8, "batch_size": 8}


def tune_command(runs: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "pipelines.tuning.tune", "--runs", str(runs), "--source", "synthetic://?n=40", *options]


def running_commands() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_search_prints_the_best_trial_and_draws_a_figure(tmp_path: Path) -> None:
    command = tune_command(tmp_path, "--trials", "2", *(word for setting in TINY for word in ("--set", setting)))
    done = subprocess.run(command, capture_output=True, text=True)
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
    assert f"  best: {' '.join(f'--set {setting}' for setting in TINY)} {searched}\n" in done.stdout
    assert f"-m pipelines.local.run --source 'synthetic://?n=40' --set {TINY[0]} " in done.stdout
    assert done.stderr == ""
    assert done.stdout.endswith("Assists a reader and does not replace one. Not for diagnosis.\n")
    with Image.open(folder / "search.png") as image:
        assert image.width > 1000


def test_interrupted_search_prints_its_result_and_leaves_no_image_and_no_training(tmp_path: Path) -> None:
    command = tune_command(tmp_path, *(word for setting in TINY for word in ("--set", setting)))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("tune: trial 1 of 20"):
                break
        (folder,) = (tmp_path / "tune").iterdir()
        while not any(f"{folder}/trial-1.metrics" in line for line in running_commands()):
            time.sleep(0.05)
        process.terminate()
        output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert errors == "\ntune: interrupted\n"
    assert "  best: --set epochs=2 " in output
    left = {path.name for path in folder.iterdir()} - {"trial-1.metrics"}
    assert left == {"search.png", "study.db", "trial-0.log", "trial-0.metrics", "trial-1.log"}
    assert not any(str(folder) in line for line in running_commands())


def test_trial_below_the_threshold_is_pruned(phantoms: DataSet, tmp_path: Path) -> None:
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


def test_failed_trial_has_its_reason_and_no_value(phantoms: DataSet, tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    run_trial(study, study.ask(), shards=phantoms.shards, fixed={"image_size_px": 8}, log=tmp_path / "trial.log")
    (trial,) = study.trials
    assert trial.state == optuna.trial.TrialState.FAIL
    assert trial.user_attrs["error"] == "train: error: image_size_px: got 8, expected greater than or equal to 32"


def test_read_metrics_leaves_out_incomplete_epochs(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "missing") == {}
    (tmp_path / "metrics").write_text("t val_auc=0.500000\nt val_loss=0.7\nt val_auc=0.600000\nt val_lo")
    assert read_metrics(tmp_path / "metrics") == {"val_auc": [0.5], "val_loss": [0.7]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trials", "0"], "error: trials: got 0, expected 1 or more"),
        (["--set", "model_store=s3://models"], "error: --set of a search: got unknown name 'model_store', expected one of "),
        (["--set", "dropout=2"], "error: dropout: got 2.0, expected less than 1"),
        (["--source", "/nonexistent/images"], "error: "),
    ],
)
def test_invalid_input_is_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    printed = exit_message(main, *tune_command(tmp_path, *options)[3:])
    assert printed.startswith(message)
    assert "\n" not in printed
