"""The benchmarks run on networks as this version exports them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brain_tumor.images import encode_png
from brain_tumor.phantoms import make_phantom
from components.architectures.evidence import EvidenceConfig
from components.saved_model import SavedModel
from tests.benchmarks.baseline import load_network
from tests.benchmarks.explain import EXPLAIN, PREDICT, export_untrained, measure, phantoms, table
from tests.conftest import TINY


def test_baseline_is_the_network_of_the_saved_model(tiny_model: Path) -> None:
    phantom, _ = make_phantom(np.random.default_rng(0), lesion=True)
    image = Image.fromarray(phantom).resize((TINY.image_size_px, TINY.image_size_px))
    pixels = np.asarray(image.convert("RGB"), np.float32)[None] / 255
    expected = SavedModel(tiny_model).run_signature(PREDICT, [encode_png(image)])["probability"]
    assert load_network(tiny_model, TINY).predict(pixels, verbose=0) == pytest.approx(expected, abs=1e-5)


def test_explain_is_measured_for_both_architectures(tmp_path: Path) -> None:
    configs = {"cnn": TINY, "evidence": EvidenceConfig(image_size_px=64)}
    models = {name: export_untrained(tmp_path / name, config) for name, config in configs.items()}
    medians = measure(models, phantoms(2), calls=2)
    assert set(medians) == {(name, signature) for name in configs for signature in (PREDICT, EXPLAIN)}
    assert all(0 < seconds < 10 for seconds in medians.values())
    assert models["evidence"].run_signature(EXPLAIN, phantoms(2))["heatmap"].shape == (2, 24, 24)


def test_table_notes_what_is_above_its_limit() -> None:
    medians = {
        ("cnn", PREDICT): 0.010,
        ("cnn", EXPLAIN): 0.016,
        ("evidence", PREDICT): 0.040,
        ("evidence", EXPLAIN): 0.044,
    }
    cnn, evidence = table(1, medians)
    assert cnn.split()[:7] == ["cnn", "1", "10.0", "ms", "16.0", "ms", "1.60"]
    assert cnn.endswith("  explain / predict is above its limit of 1.5")
    assert evidence.endswith("1.10           4.00  predict / cnn is above its limit of 3")
    assert table(8, medians)[1].endswith("1.10           4.00")
