"""A tiny real SavedModel with both signatures, and a tiny real images.zip with its splits.csv."""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.evaluate.evaluate import evaluate

BINARY = ["no_tumor", "tumor"]
FOUR = ["glioma", "meningioma", "no_tumor", "pituitary"]

CALIBRATION = {
    "temperature": {"value": 2.0, "fitted_on": "the validation images"},
    "threshold": {"value": 0.5, "rule": "auto", "sensitivity": 0.97, "fitted_on": "the tumours among them"},
    "conformal": {"error": 0.05, "min_probability": {"no_tumor": 0.35, "tumor": 0.35}, "fitted_on": "the same images"},
    "in_distribution": {
        "method": "mahalanobis",
        "features": 12,
        "limit": 21.5,
        "refused_share": 0.02,
        "fitted_on": "the training images",
    },
}


@dataclass(frozen=True)
class LabelledImage:
    """An image, float [h, w] or [h, w, 3], 0-1, and its row of splits.csv."""

    pixels: np.ndarray
    label: str
    group: int
    split: str = "test"
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Run:
    """One evaluation: its folder and its arguments."""

    folder: Path
    arguments: dict[str, Any]

    @property
    def report(self) -> Path:
        return self.folder / "out" / "report.html"

    @property
    def evaluation(self) -> Path:
        return self.folder / "out" / "evaluation.json"

    def __call__(self, **options: Any) -> dict[str, Any]:
        return evaluate(**self.arguments, report_html=self.report, evaluation_json=self.evaluation, **options)


def flat(level: float, label: str, group: int, **more: Any) -> LabelledImage:
    return LabelledImage(np.full((24, 30), level), label, group, **more)


@pytest.fixture(scope="session")
def binary_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probability of a tumour is the mean brightness, the heatmap the image itself; a black image makes it fail."""
    return export(tmp_path_factory.mktemp("binary"), BINARY, 0.5)


@pytest.fixture(scope="session")
def doubting_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like `binary_model`, with a calibration; unlike the training images from 0.85 on, uncertain within 0.15 of 0.5."""
    return export(tmp_path_factory.mktemp("doubting"), BINARY, 0.5, calibration=CALIBRATION)


@pytest.fixture(scope="session")
def four_class_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red is glioma, green meningioma, blue pituitary, dark no tumour."""
    return export(tmp_path_factory.mktemp("four"), FOUR, None)


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., Run]:
    """Return a function that writes images as ingest and preprocess do."""

    def write(model: Path, images: list[LabelledImage], *, synthetic: bool = False) -> Run:
        rows = []
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            archive.writestr(
                "dataset.json", json.dumps({"source": "a-folder", "synthetic": synthetic, "classes": [], "counts": {}})
            )
            for image in images:
                data = _png(image.pixels)
                sha256 = hashlib.sha256(data).hexdigest()
                archive.writestr(f"images/{sha256}.png", data)
                if image.mask is not None:
                    archive.writestr(f"masks/{sha256}.png", _png(image.mask.astype(float)))
                rows.append((sha256, image.group, image.label, image.split))
        with (tmp_path / "splits.csv").open("w", newline="") as lines:
            csv.writer(lines).writerows([("sha256", "group", "label", "split"), *sorted(rows)])
        paths = {"model_dir": model, "images_zip": tmp_path / "images.zip", "splits_csv": tmp_path / "splits.csv"}
        return Run(tmp_path, paths)

    return write


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((pixels * 255).round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


CARD: dict[str, Any] = {
    "name": "brain-tumor",
    "version": None,
    "architecture": "tiny",
    "created": "2026-01-02T03:04:05+00:00",
    "image_size_px": 12,
    "dataset": {"source": "a-folder", "synthetic": False, "fingerprint": "f" * 64, "counts": {}},
    "history": {
        "loss": [0.9, 0.5, 0.4],
        "val_loss": [1.0, 0.6, 0.7],
        "accuracy": [0.5, 0.7, 0.8],
        "val_accuracy": [0.5, 0.6, 0.6],
    },
    "reference": None,
}


def export(folder: Path, classes: list[str], threshold: float | None, *, calibration: dict[str, Any] | None = None) -> Path:
    import tensorflow as tf

    def measure(image_bytes: Any) -> Any:
        pixels = tf.cast(tf.io.decode_image(image_bytes, channels=3, expand_animations=False), tf.float32) / 255
        return tf.reduce_mean(pixels, axis=(0, 1)), tf.reduce_mean(tf.image.resize(pixels, (12, 15), antialias=True), axis=-1)

    def explain(image_bytes: Any) -> dict[str, Any]:
        colours, heatmap = tf.map_fn(measure, image_bytes, fn_output_signature=(tf.float32, tf.float32))
        tf.debugging.assert_positive(tf.reduce_sum(colours, axis=1))
        if threshold:
            probability = tf.reduce_mean(colours, axis=1, keepdims=True)
            index = tf.cast(probability[:, 0] >= threshold, tf.int32)
        else:
            red, green, blue = tf.unstack(colours, axis=1)
            scores = tf.stack([red, green, 1 - tf.reduce_max(colours, axis=1), blue], axis=1)
            probability = scores / tf.reduce_sum(scores, axis=1, keepdims=True)
            index = tf.argmax(scores, axis=1)
        label = tf.gather(tf.constant(classes), index)
        outputs = {
            "probability": probability,
            "label": label,
            "in_distribution": tf.ones_like(probability[:, 0]),
            "heatmap": heatmap,
        }
        if calibration:
            outputs["uncertain"] = tf.abs(probability[:, 0] - 0.5) < 0.15
            outputs["in_distribution"] = tf.where(probability[:, 0] < 0.85, 1.0, 0.4)
        return outputs

    def predict(image_bytes: Any) -> dict[str, Any]:
        return {name: output for name, output in explain(image_bytes).items() if name != "heatmap"}

    encoded = [tf.TensorSpec([None], tf.string, name="image_bytes")]
    module = tf.Module()
    module.serving_default, module.explain = tf.function(predict, encoded), tf.function(explain, encoded)
    tf.saved_model.save(module, str(folder), {"serving_default": module.serving_default, "explain": module.explain})
    card = CARD | {
        "classes": classes,
        "tumor_classes": [name for name in classes if name != "no_tumor"],
        "threshold": threshold,
    }
    if calibration:
        card |= {"calibration": calibration, "explanation": "evidence"}
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "model.json").write_text(json.dumps(card))
    return folder
