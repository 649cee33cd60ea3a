import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brain_tumor.phantoms import phantom_pngs
from components.architectures.cnn import LAST_CONVOLUTION, LOGITS, CnnConfig, CnnNetwork, build_model
from components.decision import Decision
from components.decode import decode_batch
from components.in_distribution import InDistribution
from components.train.served_model import served_model
from tests.conftest import TINY, DataSet

FOUR = ["glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"]


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def square(top: int, left: int, size_px: int = 96) -> bytes:
    pixels = np.full((size_px, size_px), 30, np.uint8)
    pixels[top : top + 24, left : left + 24] = 220
    return png(pixels)


def bright_spot_model(config: CnnConfig, *, bias: float, gain: float = 60.0) -> Any:
    """Return a network whose tumour score is the fraction of bright pixels: every convolution passes brightness above 0.5 on."""
    model = build_model(config, 2)
    for layer in model.layers:
        if layer.name.startswith("convolution"):
            kernel, offset = (np.zeros_like(array) for array in layer.get_weights())
            kernel[1, 1, 0, 0] = 1
            offset[0] = -0.5 if layer.name == "convolution_1" else 0
            layer.set_weights([kernel, offset])
        elif layer.name in ("dense", LOGITS):
            kernel, offset = (np.zeros_like(array) for array in layer.get_weights())
            kernel[0, 0] = gain if layer.name == LOGITS else 1
            offset[0] = bias if layer.name == LOGITS else 0
            layer.set_weights([kernel, offset])
    return model


def explain(model: Any, config: CnnConfig, encoded: list[bytes], classes: list[str]) -> dict[str, np.ndarray]:
    import tensorflow as tf

    threshold = config.threshold if len(classes) == 2 and config.threshold != "auto" else None
    decision = Decision(tuple(classes), temperature=1.0, threshold=threshold, min_probability=np.zeros(len(classes), np.float32))
    features = 4 * config.filters
    in_distribution = InDistribution(
        np.zeros(features, np.float32), np.eye(features, dtype=np.float32), limit=1e6, description=""
    )
    served = served_model(CnnNetwork(model), decision, in_distribution)
    return {name: value.numpy() for name, value in served.explain(tf.constant(encoded)).items()}


def peak_position(heatmap: np.ndarray, size_px: int) -> tuple[float, float]:
    """Return the centre (y, x) in pixels of the cells at the peak value."""
    rows, columns = np.nonzero(heatmap >= heatmap.max() - 1e-6)
    scale = size_px / heatmap.shape[0]
    return float((rows.mean() + 0.5) * scale), float((columns.mean() + 0.5) * scale)


POOL = TINY.model_copy(update={"head": "pool"})
BINARY = ["no_tumor", "tumor"]


@pytest.mark.parametrize("corner", [(8, 8), (8, 60), (60, 8), (60, 60)])
def test_heatmap_peaks_at_the_bright_square_that_raises_the_score(corner: tuple[int, int]) -> None:
    top, left = corner
    outputs = explain(bright_spot_model(POOL, bias=-0.1), POOL, [square(top, left)], BINARY)
    assert outputs["label"].astype(str).tolist() == ["tumor"]
    y, x = peak_position(outputs["heatmap"][0], 96)
    assert y == pytest.approx(top + 12, abs=8)
    assert x == pytest.approx(left + 12, abs=8)
    assert outputs["heatmap"][0, 6, 6] == 0


def test_saturated_probability_still_has_a_heatmap() -> None:
    outputs = explain(bright_spot_model(POOL, bias=40.0), POOL, [square(8, 8)], BINARY)
    assert outputs["probability"][0, 0] == 1.0
    assert outputs["heatmap"].max() == pytest.approx(1.0)


def test_no_tumor_heatmap_peaks_where_the_score_is_lowered() -> None:
    lowering = bright_spot_model(POOL, bias=0.0, gain=-60.0)
    outputs = explain(lowering, POOL, [square(8, 60)], BINARY)
    assert outputs["label"].astype(str).tolist() == ["no_tumor"]
    y, x = peak_position(outputs["heatmap"][0], 96)
    assert y == pytest.approx(20, abs=8)
    assert x == pytest.approx(72, abs=8)


def test_image_without_contribution_gets_zeros_and_leaves_the_batch_unchanged() -> None:
    model = bright_spot_model(POOL, bias=-0.1)
    dark = png(np.full((64, 64), 10, np.uint8))
    outputs = explain(model, POOL, [dark, square(8, 8)], BINARY)
    assert np.array_equal(outputs["heatmap"][0], np.zeros_like(outputs["heatmap"][0]))
    alone = explain(model, POOL, [square(8, 8)], BINARY)
    assert outputs["heatmap"][1] == pytest.approx(alone["heatmap"][0], abs=1e-6)


def test_threshold_is_applied_in_the_graph() -> None:
    for threshold, label in ((0.4, "tumor"), (0.6, "no_tumor")):
        config = POOL.model_copy(update={"threshold": threshold})
        outputs = explain(bright_spot_model(config, bias=0.0, gain=0.0), config, [square(8, 8)], BINARY)
        assert outputs["probability"][0, 0] == 0.5
        assert outputs["label"].astype(str).tolist() == [label]


def test_four_classes_return_one_column_each_and_explain_the_predicted_class() -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(3)
    model = build_model(TINY, 4)
    images = phantom_pngs(3)
    outputs = explain(model, TINY, images, FOUR)
    pixels, _ = decode_batch(tf.constant(images), TINY.image_size_px)
    keras_output = model.predict(pixels, verbose=0)
    assert outputs["probability"] == pytest.approx(keras_output, abs=1e-6)
    assert outputs["probability"].sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert outputs["label"].astype(str).tolist() == [FOUR[index] for index in keras_output.argmax(axis=1)]

    both = keras.Model(model.input, [model.get_layer(LAST_CONVOLUTION).output, model.get_layer(LOGITS).output])
    with tf.GradientTape() as tape:
        features, scores = both(pixels[:1], training=False)
        predicted = scores[0, int(keras_output[0].argmax())]
    gradient = tape.gradient(predicted, features)[0].numpy()
    heat = np.maximum(np.einsum("hwk,k->hw", features[0].numpy(), gradient.mean(axis=(0, 1))), 0)
    assert outputs["heatmap"][0] == pytest.approx(heat / heat.max(), abs=1e-4)


def test_network_has_the_published_layers() -> None:
    names = [layer.name for layer in build_model(CnnConfig(head="flatten"), 2).layers]
    blocks = [f"{kind}_{block}" for block in (1, 2, 3) for kind in ("convolution", "normalization", "pooling")]
    assert names == ["pixels", *blocks, "head", "dense", "dropout", "logits", "probability"]
    assert build_model(CnnConfig(head="flatten"), 2).get_layer("head").output.shape == (None, 18 * 18 * 128)
    assert build_model(CnnConfig(head="pool"), 4).output.shape == (None, 4)


def test_decode_batch_scales_pixels_to_0_1() -> None:
    import tensorflow as tf

    half = np.zeros((64, 64), np.uint8)
    half[:, 32:] = 255
    pixels = decode_batch(tf.constant([png(half), png(np.full((7, 300), 51, np.uint8))]), 32)[0].numpy()
    assert pixels.shape == (2, 32, 32, 3)
    assert pixels[0, :, :15].max() == 0
    assert pixels[0, :, 17:].min() == 1
    assert pixels[1] == pytest.approx(0.2, abs=1e-6)


def test_model_card_and_hashes_describe_the_shards(tiny_model: Path, phantoms: DataSet) -> None:
    card = json.loads((tiny_model / "assets.extra" / "model.json").read_text())
    description = json.loads((phantoms.shards / "dataset.json").read_text())
    assert card["dataset"] == {key: description[key] for key in ("source", "synthetic", "fingerprint", "counts")}
    assert card["dataset"]["synthetic"] is True
    assert (card["classes"], card["tumor_classes"], card["threshold"]) == (BINARY, ["tumor"], 0.5)
    assert (card["version"], card["metrics"], card["confusion"], card["reference"]) == (None, None, None, None)
    assert len(card["history"]["val_auc"]) == TINY.epochs
    hashes = (tiny_model / "assets.extra" / "train.sha256").read_text().splitlines()
    assert len(hashes) == sum(sum(description["counts"][split].values()) for split in ("train", "validation"))


def test_exported_model_has_no_optimizer(tiny_model: Path) -> None:
    weights = sum(path.stat().st_size for path in (tiny_model / "variables").iterdir())
    parameters = build_model(TINY, 2).count_params()
    assert weights < 1.5 * 4 * parameters + 20_000
