import contextlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from brain_tumor.errors import InputError
from components import gpus
from components.architectures import cnn
from components.architectures.cnn import CnnConfig, compile_model
from components.shards import Shards, open_shards
from tests.conftest import TINY, DataSet

LONG = TINY.model_copy(update={"epochs": 4, "early_stopping_patience": 2, "reduce_lr_patience": 1})


class KilledError(Exception):
    pass


@dataclass(frozen=True)
class Fitted:
    """The best epoch of a training, and all epochs' metrics."""

    model: Any
    history: dict[str, list[float]]

    @property
    def best_epoch(self) -> int:
        return int(np.argmin(self.history["val_loss"]))


def fit(shards: Shards, config: CnnConfig, **options: Any) -> Fitted:
    return Fitted(*cnn.fit(shards, config, **options))


def weights(trained: Fitted) -> np.ndarray:
    return np.concatenate([np.ravel(array) for array in trained.model.get_weights()])


class Completed(NamedTuple):
    """A completed training of LONG, its checkpoint and its output. Tests that train on in the folder copy it."""

    trained: Fitted
    folder: Path
    output: str


@pytest.fixture(scope="module")
def completed(phantoms: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Completed:
    folder = tmp_path_factory.mktemp("completed")
    with contextlib.redirect_stdout(io.StringIO()) as output:
        trained = fit(open_shards(phantoms.shards), LONG, checkpoint_dir=folder)
    return Completed(trained, folder, output.getvalue())


@pytest.fixture
def checkpoint(completed: Completed, tmp_path: Path) -> Path:
    return Path(shutil.copytree(completed.folder, tmp_path / "checkpoint"))


def test_killed_training_resumes_to_the_result_of_an_uninterrupted_one(
    phantoms: DataSet,
    completed: Completed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from components.callbacks import Progress

    shards = open_shards(phantoms.shards)
    whole = completed.trained

    def kill(self: Progress, epoch: int, logs: dict | None = None) -> None:
        if epoch == 1:
            raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Progress, "on_epoch_end", kill)
        fit(shards, LONG, checkpoint_dir=tmp_path)
    resumed = fit(shards, LONG, checkpoint_dir=tmp_path)

    assert "train: resuming after epoch 2" in capsys.readouterr().out
    assert resumed.best_epoch == whole.best_epoch
    for name, values in whole.history.items():
        assert resumed.history[name] == pytest.approx(values, rel=1e-4), name
    assert weights(resumed) == pytest.approx(weights(whole), rel=1e-3, abs=1e-5)


def test_completed_training_is_not_repeated(
    phantoms: DataSet, completed: Completed, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = fit(open_shards(phantoms.shards), LONG, checkpoint_dir=checkpoint)
    assert "epoch   1" not in capsys.readouterr().out
    assert again.history == completed.trained.history
    assert np.array_equal(weights(again), weights(completed.trained))


def test_checkpoint_of_other_hyper_parameters_is_not_used(
    phantoms: DataSet, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = fit(open_shards(phantoms.shards), LONG.model_copy(update={"learning_rate": 0.01}), checkpoint_dir=checkpoint)
    output = capsys.readouterr().out
    assert "starting from the first epoch" in output
    assert len(other.history["loss"]) == output.count("train: epoch ")


def test_checkpoint_contains_the_state_of_callbacks(completed: Completed) -> None:
    trained = completed.trained
    (kept,) = completed.folder.glob("epoch-*")
    checkpoint, reduce_lr, early_stopping = json.loads((kept / "state.json").read_text())["callbacks"]
    best = min(trained.history["val_loss"])
    assert checkpoint["best"] == early_stopping["best"] == pytest.approx(best)
    assert early_stopping["wait"] == len(trained.history["val_loss"]) - 1 - trained.best_epoch
    assert "cooldown_counter" in reduce_lr


def test_mixed_precision_training_resumes_and_returns_float32(
    phantoms: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpus, "policy", lambda: "mixed_float16")
    shards = open_shards(phantoms.shards)
    config = TINY.model_copy(update={"epochs": 2})
    first = fit(shards, config, checkpoint_dir=tmp_path)
    (kept,) = tmp_path.glob("epoch-*")
    state = json.loads((kept / "state.json").read_text())
    (kept / "state.json").write_text(json.dumps(state | {"finished": False}))
    resumed = fit(shards, config, checkpoint_dir=tmp_path)
    assert "train: resuming after epoch 2" in capsys.readouterr().out
    assert {weight.dtype for weight in resumed.model.weights} == {"float32"}
    assert {layer.compute_dtype for layer in resumed.model.layers} == {"float32"}
    assert np.array_equal(weights(resumed), weights(first))


def test_repeated_training_gives_the_same_network(phantoms: DataSet) -> None:
    shards = open_shards(phantoms.shards)
    config = TINY.model_copy(update={"epochs": 2})
    assert weights(fit(shards, config)) == pytest.approx(weights(fit(shards, config)), rel=1e-5, abs=1e-7)


def test_progress_prints_one_line_per_epoch(completed: Completed) -> None:
    lines = [line for line in completed.output.splitlines() if "epoch" in line]
    assert len(lines) == len(completed.trained.history["loss"])
    assert lines[0].startswith("train: epoch   1 of 4  loss ")


@pytest.fixture(scope="module")
def overfitted(phantoms: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Return shards whose validation images bear the wrong class: the better the training, the worse its validation loss."""
    import tensorflow as tf

    folder = Path(shutil.copytree(phantoms.shards, tmp_path_factory.mktemp("overfitted") / "shards"))
    for file in open_shards(folder).files("validation"):
        records = list(tf.data.TFRecordDataset(file).as_numpy_iterator())
        with tf.io.TFRecordWriter(file) as writer:
            for record in records:
                example = tf.train.Example.FromString(record)
                label = example.features.feature["label"].int64_list.value
                label[0] = 1 - label[0]
                writer.write(example.SerializeToString())
    return open_shards(folder)


def test_fit_returns_the_best_epoch_not_the_last(overfitted: Shards) -> None:
    from components.shards import unaugmented_batches

    trained = fit(overfitted, TINY.model_copy(update={"epochs": 6, "learning_rate": 0.01, "reduce_lr_patience": 6}))
    losses = trained.history["val_loss"]
    assert trained.best_epoch < len(losses) - 1, "the last epoch is the best one: this training proves nothing"
    compile_model(trained.model, TINY, 2)
    loss = trained.model.evaluate(unaugmented_batches(overfitted, TINY, "validation"), verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(min(losses), rel=1e-3)


def test_early_stopped_training_does_not_resume(overfitted: Shards, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = TINY.model_copy(update={"epochs": 12, "early_stopping_patience": 1, "learning_rate": 0.01})
    first = fit(overfitted, config, checkpoint_dir=tmp_path)
    assert len(first.history["loss"]) < config.epochs, "it did not stop early: this training proves nothing"
    capsys.readouterr()
    again = fit(overfitted, config, checkpoint_dir=tmp_path)
    assert "epoch  " not in capsys.readouterr().out
    assert again.history == first.history


def test_checkpoint_of_another_split_is_not_used(
    phantoms: DataSet, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from components.preprocess.preprocess import preprocess

    preprocess(phantoms.images_zip, phantoms.manifest_csv, shards=tmp_path / "s", splits_csv=tmp_path / "s.csv", test_share=0.5)
    fit(open_shards(tmp_path / "s"), LONG, checkpoint_dir=checkpoint)
    assert "starting from the first epoch" in capsys.readouterr().out


def test_loss_that_is_not_finite_names_the_learning_rate(phantoms: DataSet) -> None:
    with pytest.raises(InputError, match=r"validation loss is not finite \(learning_rate=1e\+30\)"):
        fit(open_shards(phantoms.shards), TINY.model_copy(update={"epochs": 1, "learning_rate": 1e30}))


def test_checkpoint_dir_that_cannot_be_created_is_named(phantoms: DataSet, tmp_path: Path) -> None:
    from components.train.train import train

    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"checkpoint_dir: cannot create folder .*file/below: Not a directory"):
        train(phantoms.shards, model_dir=tmp_path / "model", config=TINY, checkpoint_dir=tmp_path / "file" / "below")
