"""The command line of a training, as a process of its own."""

import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from components.architectures import FIELDS, help_texts
from components.architectures.cnn import CnnConfig
from components.architectures.evidence import EvidenceConfig
from components.train.__main__ import config_of_flags, parse_flags
from tests.conftest import ROOT, TINY, DataSet

FLAGS = [f"--{name}={value}" for name, value in TINY.model_dump().items()]


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "components.train", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_training_writes_one_line_per_epoch_and_metric_and_a_model(phantoms: DataSet, tmp_path: Path) -> None:
    metrics, model = tmp_path / "katib" / "metrics.log", tmp_path / "model"
    done = train("--shards", str(phantoms.shards), "--model-dir", str(model), "--metrics-file", str(metrics), *FLAGS)
    assert done.returncode == 0, done.stderr
    assert (model / "saved_model.pb").is_file()

    lines = [re.fullmatch(r"(\S+) (val_\w+)=(\d+\.\d{6})", line) for line in metrics.read_text().splitlines()]
    found = [line.groups() for line in lines if line]
    assert len(found) == len(lines)
    by_name = {name: [float(value) for _, other, value in found if other == name] for _, name, _ in found}
    assert set(by_name) == {"val_accuracy", "val_auc", "val_loss", "val_precision", "val_recall"}
    assert {len(values) for values in by_name.values()} == {TINY.epochs}
    times = [datetime.fromisoformat(time) for time, *_ in found]
    assert times == sorted(times)
    assert len(set(times)) == TINY.epochs

    printed = [float(value) for value in re.findall(r"epoch .* of .* val_auc (\d\.\d+)", done.stdout)]
    assert printed == pytest.approx(by_name["val_auc"], abs=5e-4)
    best = by_name["val_loss"].index(min(by_name["val_loss"]))
    assert f"train: best epoch {best + 1}, val_auc {by_name['val_auc'][best]:.4f}" in done.stdout


def test_completed_training_writes_its_metrics_again(phantoms: DataSet, tmp_path: Path) -> None:
    from components.train.train import train as train_here

    config = TINY.model_copy(update={"epochs": 2})
    for name in ("first", "again"):
        train_here(phantoms.shards, model_dir=None, config=config, checkpoint_dir=tmp_path / "kept", metrics_file=tmp_path / name)
    values = [re.sub(r"^\S+ ", "", (tmp_path / name).read_text(), flags=re.MULTILINE) for name in ("first", "again")]
    assert values[0].count("val_auc=") == 2
    assert values[1] == values[0]


def test_every_hyper_parameter_is_a_flag_with_dashes_or_underscores() -> None:
    other = CnnConfig(
        head="flatten",
        image_size_px=64,
        filters=8,
        dense_units=16,
        dropout=0.25,
        l2=0.001,
        batch_norm_momentum=0.9,
        learning_rate=0.002,
        batch_size=4,
        epochs=7,
        early_stopping_patience=3,
        reduce_lr_patience=2,
        rotation_deg=20.0,
        zoom=0.2,
        shear_deg=1.0,
        horizontal_flip=False,
        threshold=0.4,
        threshold_sensitivity=0.9,
        seed=5,
    )
    values = other.model_dump()
    assert all(values[name] != default for name, default in CnnConfig().model_dump().items() if name != "architecture"), (
        "this proves nothing"
    )
    underscored = [f"--{name}={value}" for name, value in values.items()]
    dashed = [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    for flags in (underscored, dashed):
        assert config_of_flags(parse_flags(["--shards", "here", *flags])) == other
    assert config_of_flags(parse_flags(["--shards", "here"])) == EvidenceConfig()


def test_underscores_of_values_stay() -> None:
    assert parse_flags(["--shards=--a_b", "--model_dir", "c_d"]).model_dir == Path("c_d")
    assert parse_flags(["--shards=--a_b"]).shards == Path("--a_b")


def test_help_states_meaning_and_default_of_each_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse_flags(["--help"])
    assert end.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "--learning-rate FLOAT Initial learning rate. default: 0.01 (evidence), 0.0007 (cnn)" in words
    assert "--horizontal-flip BOOL Augmentation: mirror half of the images. default: true" in words
    for name, text in help_texts().items():
        flag = f"--{name.replace('_', '-')} {type(FIELDS[name].default).__name__.upper()}"
        assert f"{flag} {' '.join(text.split())}" in words


def test_invalid_flag_exits_with_2_and_invalid_value_with_1(phantoms: DataSet, tmp_path: Path) -> None:
    shards = ("--shards", str(phantoms.shards))
    misspelt = train(*shards, "--learning-rat", "0.1")
    assert misspelt.returncode == 2
    assert misspelt.stderr.endswith("error: unrecognized arguments: --learning-rat 0.1\n")
    with pytest.raises(SystemExit, match="2"):
        parse_flags([*shards, "--cross-validate", "--model-dir", "model"])
    cases = {
        ("--learning-rate", "fast"): "train: error: learning_rate: got 'fast', expected a valid number\n",
        ("--horizontal-flip", "1"): "train: error: horizontal_flip: got '1', expected true or false\n",
        ("--architecture", "cnn", "--dropout", "1"): "train: error: dropout: got 1.0, expected less than 1\n",
        ("--metrics-file", "/proc/none/metrics"): "train: error: metrics_file: cannot create folder /proc/none: ",
        ("--cross-validate", "--cache-dir", "/proc/none"): "train: error: cache_dir: cannot create folder /proc/none: ",
        ("--shards", str(tmp_path)): f"train: error: {tmp_path}: got no dataset.json",
    }
    for flags, message in cases.items():
        rejected = train(*shards, *flags)
        assert rejected.returncode == 1
        assert rejected.stderr.startswith(message)
