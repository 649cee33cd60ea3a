"""A search with real, tiny trainings."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from PIL import Image

from components.architectures import CONFIGS, read_config
from components.architectures.cnn import CnnConfig
from components.uris import sqlite_uri
from pipelines.local.scratch import scratch_folder
from pipelines.tuning.figure import draw_search
from pipelines.tuning.search import SEARCH_SPACES, format_value, read_metrics, run_trial, searched, warm_up_steps
from pipelines.tuning.tune import _outcome, main, ranking, table
from tests.conftest import DataSet
from tests.pipelines.conftest import ODD_NAME, exit_message, running_commands

EVIDENCE = ("image_size_px=64", "views=2", "epochs=2")
CNN = {"architecture": "cnn", "image_size_px": 32, "filters": 4, "dense_units": 8, "batch_size": 8, "epochs": 1}


def tune_command(runs: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "pipelines.tuning.tune", "--runs", str(runs), "--source", "synthetic://?n=40", *options]


def tune_evidence(runs: Path, *options: str) -> list[str]:
    return tune_command(runs, *options, *(word for setting in EVIDENCE for word in ("--set", setting)))


def test_search_prints_the_best_trial_and_draws_a_figure(tmp_path: Path) -> None:
    runs = tmp_path / ODD_NAME
    done = subprocess.run(tune_evidence(runs, "--trials", "2"), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (runs / "tune").glob("2*")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("search.png", "study.db", "trial-0.log", "trial-0.metrics", "trial-1.log", "trial-1.metrics"),
    ]
    study = optuna.load_study(study_name="brain-tumor", storage=sqlite_uri(folder / "study.db"))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
    for trial in study.trials:
        reported = read_metrics(folder / f"trial-{trial.number}.metrics")["val_auc"]
        assert trial.intermediate_values == {1: reported[1]}, "the first half of the epochs is no reason to prune"
        assert trial.value == reported[1]
        assert set(trial.params) == {"learning_rate", "weight_decay", "label_smoothing", "sharpness"}
        assert f"tune: trial {trial.number + 1} of 2: val_auc {trial.value:.4f}\n" in done.stdout
    first = study.trials[0].params
    assert first == {"learning_rate": 1e-2, "weight_decay": 4.0, "label_smoothing": 0.05, "sharpness": 5.0}
    logs = [(folder / f"trial-{number}.log").read_text() for number in (0, 1)]
    assert ["train: features of " in log for log in logs] == [True, False], "the second trial reads the features of the first"
    assert all("train: cross-validation, val_auc " in log for log in logs)

    best = max(study.trials, key=lambda trial: (trial.values, -trial.number))
    assert re.search(rf"\n  trial  val_auc  learning_rate .*\n +{best.number} +{best.value:.4f} ", done.stdout)
    searched = " ".join(f"--set {name}={format_value(value)}" for name, value in best.params.items())
    assert f"  best: {' '.join(f'--set {setting}' for setting in EVIDENCE)} {searched}\n" in done.stdout
    assert f"-m pipelines.local.run --source 'synthetic://?n=40' --set {EVIDENCE[0]} " in done.stdout
    assert done.stderr == ""
    assert done.stdout.endswith("Assists a reader and does not replace one. Not for diagnosis.\n")
    with Image.open(folder / "search.png") as image:
        assert image.width > 1000


@pytest.mark.long
def test_interrupted_search_prints_its_result_and_leaves_no_image_and_no_training(tmp_path: Path) -> None:
    with subprocess.Popen(tune_evidence(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("tune: trial 1 of 20"):
                break
        (folder,) = (tmp_path / "tune").glob("2*")
        while not any(f"{folder}/trial-1.metrics" in line for line in running_commands()):
            time.sleep(0.05)
        process.terminate()
        output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert errors == "\ntune: interrupted\n"
    assert "  best: --set image_size_px=64 " in output
    left = {path.name for path in folder.iterdir()} - {"trial-1.metrics"}
    assert left == {"search.png", "study.db", "trial-0.log", "trial-0.metrics", "trial-1.log"}
    assert not any(str(folder) in line for line in running_commands())


def test_killed_search_leaves_no_process_and_the_next_one_deletes_its_images(tmp_path: Path) -> None:
    """One is killed in its first trial, which it leaves, one in ingest, of which nothing is left."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    for last in ("preprocess: wrote validation images", "ingest: read files"):
        environment = os.environ | {"TMPDIR": str(temporary)}
        with subprocess.Popen(tune_evidence(tmp_path), stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            next(line for line in process.stdout if line.startswith(last))
            while last.startswith("preprocess") and not any(
                f"{tmp_path}/tune" in line and "train" in line for line in running_commands()
            ):
                time.sleep(0.02)
            process.kill()
    deadline = time.monotonic() + 3
    while left := [line for line in running_commands() if str(tmp_path) in line]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    with scratch_folder(tmp_path / "tune" / "new"):
        (trial,) = [path for path in (tmp_path / "tune").iterdir() if path.name[0] == "2"]
        assert {path.name for path in trial.iterdir()} <= {"study.db", "trial-0.log", "trial-0.metrics"}
    assert list(temporary.iterdir()) == []


def test_trial_of_cnn_below_the_threshold_is_pruned_after_its_second_fold(phantoms: DataSet, tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.ThresholdPruner(lower=1.1))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    config = read_config(CNN)
    log = tmp_path / "trial.log"
    run_trial(study, study.ask(), shards=phantoms.shards, scratch=scratch, config=config, fixed=CNN, log=log)
    (trial,) = study.trials
    assert trial.state == optuna.trial.TrialState.PRUNED, log.read_text()
    reported = read_metrics(tmp_path / "trial.metrics")["val_auc"]
    assert trial.intermediate_values == {1: reported[1]}
    assert len(reported) < 5
    folds = sorted(path.name for path in scratch.rglob("fold-*"))
    assert folds == [f"fold-{fold:05d}.tfrecord" for fold in range(5)], "left for the search to remove with its images"


def test_failed_trial_has_its_reason_and_no_value(phantoms: DataSet, tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    config, fixed, log = read_config({}), {"image_size_px": 8}, tmp_path / "trial.log"
    run_trial(study, study.ask(), shards=phantoms.shards, scratch=tmp_path, config=config, fixed=fixed, log=log)
    (trial,) = study.trials
    assert trial.state == optuna.trial.TrialState.FAIL
    assert trial.user_attrs["error"] == "train: error: image_size_px: got 8, expected a multiple of 32"


@pytest.mark.parametrize("architecture", CONFIGS)
def test_default_hyper_parameters_are_inside_the_search_space(architecture: str) -> None:
    space = SEARCH_SPACES[architecture]
    defaults = read_config({"architecture": architecture})
    for name, values in space.items():
        assert values._contains(values.to_internal_repr(getattr(defaults, name))), name
        assert isinstance(values, CategoricalDistribution | FloatDistribution)
        for value in values.choices if isinstance(values, CategoricalDistribution) else (values.low, values.high):
            assert getattr(read_config({"architecture": architecture, name: value}), name) == value
    assert searched(defaults, {"learning_rate"}) == {name: space[name] for name in space if name != "learning_rate"}


def test_early_results_are_not_compared() -> None:
    assert warm_up_steps(read_config({"epochs": 60})) == 30
    assert warm_up_steps(CnnConfig(epochs=60)) == 1


def test_search_of_cnn_has_its_figure_and_table(tmp_path: Path) -> None:
    space = SEARCH_SPACES["cnn"]
    study = optuna.create_study(direction="maximize")
    for learning_rate, value in ((1e-3, 0.75), (2e-3, 0.875)):
        params = CnnConfig().model_dump(include=set(space)) | {"learning_rate": learning_rate}
        study.add_trial(create_trial(params=params, distributions=space, value=value))
    steps = {0: 0.5, 1: 0.625}
    study.add_trial(create_trial(state=TrialState.PRUNED, params=params, distributions=space, intermediate_values=steps))
    assert _outcome(study.trials[2], CnnConfig()) == "pruned after fold 2, val_auc 0.6250"
    assert [line.split()[:3] for line in table(ranking(study), space).splitlines()] == [
        ["trial", "val_auc", "learning_rate"],
        ["1", "0.8750", "0.002"],
        ["0", "0.7500", "0.001"],
    ]
    draw_search(study.trials, space, tmp_path / "search.png", title="a search")
    with Image.open(tmp_path / "search.png") as image:
        assert image.width > 1000


def test_read_metrics_leaves_out_incomplete_epochs(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "missing") == {}
    (tmp_path / "metrics").write_text("t val_auc=0.500000\nt val_loss=0.7\nt val_auc=0.600000\nt val_lo")
    assert read_metrics(tmp_path / "metrics") == {"val_auc": [0.5], "val_loss": [0.7]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trials", "0"], "error: trials: got 0, expected 1 or more"),
        (["--set", "model_store=s3://models"], "error: --set of a search: got unknown name 'model_store', expected one of "),
        (["--set", "architecture=cnn", "--set", "dropout=2"], "error: dropout: got 2.0, expected less than 1"),
        (["--set", "dropout=0.3"], "error: hyperparameters: got dropout, which belongs to architecture=cnn, with architecture="),
        (["--source", "/nonexistent/images"], "error: "),
    ],
)
def test_invalid_input_is_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    printed = exit_message(main, *tune_command(tmp_path, *options)[3:])
    assert printed.startswith(message)
    assert "\n" not in printed
