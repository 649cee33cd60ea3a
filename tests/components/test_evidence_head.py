from pathlib import Path

import numpy as np
import pytest

from brain_tumor.errors import InputError
from components.architectures.evidence import EvidenceConfig
from components.evidence_head import Heads, HeadTraining, pool_evidence, run_epochs
from components.feature_cache import CachedFeatures

CELLS, CHANNELS = 4, 6
CONFIG = EvidenceConfig(epochs=8, batch_size=16, weight_decay=0.01, learning_rate=0.05)


def spots(count: int = 60, classes: int = 2, seed: int = 0) -> tuple[CachedFeatures, np.ndarray]:
    """Return noise, in which channel c is high at one cell of the images of class c above 0, with a mirrored second view."""
    rng = np.random.default_rng(seed)
    maps, labels = rng.normal(2, 1, (count, CELLS, CELLS, CHANNELS)), np.arange(count) % classes
    for row, label in zip(maps, labels, strict=True):
        if label:
            row[tuple(rng.integers(0, CELLS, 2))][label] += 8
    views = np.stack([maps, maps[:, :, ::-1]], axis=1).astype(np.float16)
    return CachedFeatures(views, np.arange(count)), labels


def trained(classes: int = 2, config: EvidenceConfig = CONFIG, **options: Path) -> tuple[HeadTraining, dict[str, list[float]]]:
    features, labels = spots(classes=classes)
    training = HeadTraining(features, labels, np.arange(len(labels)) // classes % 3, classes, config)
    paths = {"logs_dir": None, "checkpoint_dir": None, "metrics_file": None} | options
    return training, run_epochs(training, "identity", **paths)


def test_pooling_is_between_the_mean_and_the_maximum() -> None:
    evidence = np.array([0.0, 1.0, 2.0, 5.0], np.float32).reshape(1, 2, 2, 1)
    assert pool_evidence(evidence, 5.0)[0, 0] == pytest.approx(np.log(np.exp(5 * evidence).mean()) / 5, abs=1e-5)
    assert pool_evidence(evidence, 1e-3)[0, 0] == pytest.approx(2.0, abs=0.01)
    assert pool_evidence(evidence, 100.0)[0, 0] == pytest.approx(5.0, abs=0.02)
    assert pool_evidence(evidence * 1000, 5.0)[0, 0] == pytest.approx(5000, abs=1)


def test_head_learns_where_the_class_is() -> None:
    training, history = trained()
    assert history["val_auc"][-1] > 0.95
    features, labels = spots(seed=1)
    heads = training.result()
    maps = features.views(np.arange(60), 0)
    evidence = heads.evidence(maps)[:, :, :, -1, 0]
    hits = [evidence[i].argmax() == maps[i, :, :, 1].argmax() for i in np.flatnonzero(labels)]
    assert np.mean(hits) > 0.9


def test_each_of_more_classes_has_its_map() -> None:
    training, history = trained(classes=3)
    assert training.result().kernel.shape == (CHANNELS, 4, 3)
    assert history["val_auc"][-1] > 0.95


def test_held_out_score_is_that_of_the_head_without_the_fold() -> None:
    training, _ = trained()
    held_out, taught = training.scores()
    heads = training.result()
    maps = training.features.views(np.array([4]), 0)
    by_head = pool_evidence(heads.evidence(maps), CONFIG.sharpness)
    assert held_out[4] == pytest.approx(by_head[0, training.folds[4]], abs=1e-5)
    assert taught[4] == pytest.approx(by_head[0, -1], abs=1e-5)
    assert not np.allclose(held_out, taught)


def test_fold_teaches_every_head_but_its_own() -> None:
    features, labels = spots()
    folds = np.arange(60) // 2 % 3
    wrong = np.where(folds == 0, 1 - labels, labels)  # only fold 0 has wrong labels
    results = []
    for given in (labels, wrong):
        training = HeadTraining(features, given, folds, 2, CONFIG)
        for epoch in range(CONFIG.epochs):
            training.run_epoch(epoch)
        results.append(training.result().kernel)
    assert results[0][:, 0] == pytest.approx(results[1][:, 0], abs=1e-6)
    for head in (1, 2, 3):
        assert np.abs(results[0][:, head] - results[1][:, head]).max() > 0.01


def test_killed_training_resumes_to_the_same_heads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, history = trained()
    features, labels = spots()
    killed = HeadTraining(features, labels, np.arange(60) // 2 % 3, 2, CONFIG)
    original = killed.run_epoch

    def run(epoch: int) -> float:
        if epoch == 6:
            raise KeyboardInterrupt
        return original(epoch)

    killed.run_epoch = run  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run_epochs(killed, "identity", logs_dir=None, checkpoint_dir=tmp_path, metrics_file=None)
    resumed, again = trained(checkpoint_dir=tmp_path)
    assert "train: resuming after epoch 6" in capsys.readouterr().out
    assert again["val_loss"] == pytest.approx(history["val_loss"], abs=1e-5)
    assert resumed.result().kernel == pytest.approx(whole.result().kernel, abs=1e-5)
    finished, third = trained(checkpoint_dir=tmp_path)
    assert third == again
    assert finished.result().kernel == pytest.approx(whole.result().kernel, abs=1e-5)


def test_checkpoint_of_other_images_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(checkpoint_dir=tmp_path)
    features, labels = spots()
    other = HeadTraining(features, labels, np.arange(60) // 2 % 3, 2, CONFIG)
    history = run_epochs(other, "another identity", logs_dir=None, checkpoint_dir=tmp_path, metrics_file=None)
    assert "starting from the first epoch" in capsys.readouterr().out
    assert len(history["loss"]) == CONFIG.epochs


def test_heads_take_features_that_are_not_standardised() -> None:
    heads = Heads(np.full((2, 1, 1), 2.0, np.float32), np.full((1, 1), -1.0, np.float32))
    assert heads.evidence(np.ones((1, 3, 3, 2), np.float32)) == pytest.approx(3.0)


def test_loss_that_is_not_finite_names_the_learning_rate() -> None:
    with pytest.raises(InputError, match=r"^the loss is not finite \(learning_rate=1e\+38\): lower the learning rate$"):
        trained(config=CONFIG.model_copy(update={"learning_rate": 1e38}))
