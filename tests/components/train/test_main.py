"""The training's command line, as a process of its own."""

import dataclasses
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from brain_tumor.errors import InputError
from components.hyperparameters import TrainConfig
from components.train.__main__ import parse_flags, read_config
from tests.conftest import ROOT, TINY, DataSet

FLAGS = [f"--{name}={value}" for name, value in dataclasses.asdict(TINY).items()]


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "components.train", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_training_writes_a_line_for_every_epoch_and_metric_and_a_model(phantoms: DataSet, tmp_path: Path) -> None:
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
    assert f"train: epoch {best + 1} is the best, val_auc {by_name['val_auc'][best]:.4f}" in done.stdout


def test_metrics_of_a_training_that_had_ended_are_written_again(phantoms: DataSet, tmp_path: Path) -> None:
    from components.train.train import train as train_here

    config = dataclasses.replace(TINY, epochs=2)
    for name in ("first", "again"):
        train_here(phantoms.shards, model_dir=None, config=config, checkpoint_dir=tmp_path / "kept", metrics_file=tmp_path / name)
    values = [re.sub(r"^\S+ ", "", (tmp_path / name).read_text(), flags=re.MULTILINE) for name in ("first", "again")]
    assert values[0].count("val_auc=") == 2
    assert values[1] == values[0]


def test_every_hyper_parameter_is_a_flag_with_dashes_or_underscores() -> None:
    other = TrainConfig(
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
        seed=5,
    )
    values = dataclasses.asdict(other)
    assert all(values[field.name] != field.default for field in dataclasses.fields(TrainConfig)), "this proves nothing"
    underscored = [f"--{name}={value}" for name, value in values.items()]
    dashed = [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    for flags in (underscored, dashed):
        assert read_config(parse_flags(["--shards", "here", *flags])) == other
    assert read_config(parse_flags(["--shards", "here"])) == TrainConfig()


def test_value_with_an_underscore_stays_as_it_is() -> None:
    assert parse_flags(["--shards=--a_b", "--model_dir", "c_d"]).model_dir == Path("c_d")
    assert parse_flags(["--shards=--a_b"]).shards == Path("--a_b")


def test_help_says_what_each_flag_means_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse_flags(["--help"])
    assert end.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "--learning-rate FLOAT of Adam, at the start. With `flatten` and few images 1e-4 is steadier. default: 0.0007" in words
    assert "--horizontal-flip BOOL augmentation: mirror half of the images. default: true" in words
    for field in dataclasses.fields(TrainConfig):
        assert f"--{field.name.replace('_', '-')} {type(field.default).__name__.upper()} " in words


def test_flag_that_is_wrong_is_status_2_and_a_value_status_1(phantoms: DataSet, tmp_path: Path) -> None:
    shards = ("--shards", str(phantoms.shards))
    misspelt = train(*shards, "--learning-rat", "0.1")
    assert misspelt.returncode == 2
    assert misspelt.stderr.endswith("error: unrecognized arguments: --learning-rat 0.1\n")
    cases = {
        ("--learning-rate", "fast"): "train: error: learning_rate is 'fast', wanted float\n",
        ("--horizontal-flip", "1"): "train: error: horizontal_flip is '1', wanted boolean\n",
        ("--dropout", "1"): "train: error: dropout is 1.0, wanted 0 up to, but not, 1\n",
        ("--metrics-file", "/proc/none/metrics"): "train: error: the metrics file's folder /proc/none cannot be made: ",
        ("--shards", str(tmp_path)): f"train: error: {tmp_path} holds no dataset.json",
    }
    for flags, message in cases.items():
        refused = train(*shards, *flags)
        assert refused.returncode == 1
        assert refused.stderr.startswith(message)


def test_values_of_every_type_are_read_or_refused() -> None:
    from components.values import parse_value

    given = [("7", int, 7), ("1e-3", float, 0.001), ("False", bool, False), ("x", str, "x"), ("[1]", list, [1]), ("{}", dict, {})]
    for text, kind, value in given:
        assert parse_value("name", text, kind) == value
    for text, kind, wanted in [
        ("inf", float, "float"),
        ("1.5", int, "integer"),
        ("[]", dict, "a JSON object"),
        ("{", list, "a JSON"),
    ]:
        with pytest.raises(InputError, match=f"^name is {re.escape(repr(text))}, wanted {wanted}"):
            parse_value("name", text, kind)
