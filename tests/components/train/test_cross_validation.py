"""Cross-validation: the folds of the shards, and the scores pooled over them."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from components.folds import FoldShards, write_folds
from components.shards import TRAINING_SPLITS, open_shards, read_records
from components.train import cross_validation
from components.train.cross_validation import cross_validate
from components.trained import CalibrationSet
from tests.conftest import TINY, TINY_EVIDENCE, DataSet


def steps(metrics_file: Path) -> list[float]:
    return [float(value) for value in re.findall(r"val_auc=(\S+)", metrics_file.read_text())]


def test_each_fold_is_the_validation_split_once(phantoms: DataSet, tmp_path: Path) -> None:
    shards = open_shards(phantoms.shards)
    everything = {record.sha256: record for record in read_records(shards, *TRAINING_SPLITS)}
    folds = write_folds(shards, tmp_path, seed=0)
    assert [fold.fold for fold in folds] == [0, 1, 2, 3, 4]
    validated: list[str] = []
    for fold in folds:
        train, validation = ([*read_records(fold, split)] for split in TRAINING_SPLITS)
        assert {record.sha256: record for record in train + validation} == everything
        assert not {record.group for record in train} & {record.group for record in validation}
        for split, records in (("train", train), ("validation", validation)):
            labels = [shards.classes[record.label] for record in records]
            assert fold.description["counts"][split] == {name: labels.count(name) for name in shards.classes}
            assert fold.count(split) == len(records)
            assert min(fold.description["counts"][split].values()) > 0
        validated += [record.sha256 for record in validation]
    assert sorted(validated) == sorted(everything)


def test_result_is_that_of_the_pooled_scores(phantoms: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scored: list[CalibrationSet] = []

    def train(shards: FoldShards, config: object) -> SimpleNamespace:
        labels = np.array([record.label for record in read_records(shards, "validation")])
        # Each fold ranks its own images without an error, but about a level of its own.
        scored.append(CalibrationSet((labels + rng.normal(0, 2))[:, None].astype(np.float32), labels, ""))
        return SimpleNamespace(calibration=scored[-1])

    monkeypatch.setattr(cross_validation, "architecture_module", lambda config: SimpleNamespace(train=train))
    metrics = cross_validate(phantoms.shards, config=TINY, metrics_file=tmp_path / "metrics")
    pooled = [
        roc_auc_score(*(np.concatenate([getattr(one, name) for one in scored[: fold + 1]]) for name in ("labels", "scores")))
        for fold in range(5)
    ]
    assert steps(tmp_path / "metrics") == pytest.approx(pooled, abs=1e-6)
    assert metrics["auc"] == pytest.approx(pooled[-1])
    assert pooled[0] == 1
    assert pooled[-1] < 1


def test_cnn_is_trained_once_a_fold(phantoms: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = TINY.model_copy(update={"epochs": 1})
    metrics = cross_validate(phantoms.shards, config=config, metrics_file=tmp_path / "new" / "metrics", folds=2)
    assert steps(tmp_path / "new" / "metrics")[-1] == pytest.approx(metrics["auc"], abs=1e-6)
    images = sum(open_shards(phantoms.shards).count(split) for split in TRAINING_SPLITS)
    printed = re.findall(r"train: fold (\d) of 2, val_auc of (\d+) images (\S+)", capsys.readouterr().out)
    assert [number for number, _, _ in printed] == ["1", "2"]
    assert printed[-1] == ("2", str(images), f"{metrics['auc']:.4f}")
    assert 0 < int(printed[0][1]) < images


def test_evidence_is_trained_once_and_keeps_its_features(phantoms: DataSet, tmp_path: Path) -> None:
    metrics, cache = tmp_path / "metrics", tmp_path / "cache"
    result = cross_validate(phantoms.shards, config=TINY_EVIDENCE, metrics_file=metrics, cache_dir=cache)
    assert len(steps(metrics)) == TINY_EVIDENCE.epochs
    assert steps(metrics)[-1] == pytest.approx(result["auc"], abs=1e-6)
    images = sum(open_shards(phantoms.shards).count(split) for split in TRAINING_SPLITS)
    (features,) = cache.glob("*.float16")
    assert features.stat().st_size == images * TINY_EVIDENCE.views * 4 * 4 * 304 * 2
