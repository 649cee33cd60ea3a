"""Models that see nothing but the mean brightness of an image, so that a test can choose their outputs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from brain_tumor.images import encode_png
from brain_tumor.model_card import MODEL_CARD_PATH

if TYPE_CHECKING:
    import tensorflow as tf

CARD_0_1_0: dict[str, Any] = {
    "schema": 1,
    "name": "brain-tumor",
    "version": 3,
    "created": "2026-03-01T09:05:07+00:00",
    "architecture": "brightness",
    "classes": ["no_tumor", "tumor"],
    "tumor_classes": ["tumor"],
    "threshold": 0.5,
    "image_size_px": 48,
    "dataset": {
        "source": "/data/mri",
        "synthetic": False,
        "fingerprint": "0" * 64,
        "counts": {"train": {"no_tumor": 5, "tumor": 7}},
    },
    "metrics": None,
    "confusion": None,
    "history": {},
    "reference": None,
}
CARD = CARD_0_1_0 | {
    "explanation": "evidence",
    "calibration": {
        "temperature": {"value": 1.25, "fitted_on": "validation"},
        "threshold": {"value": 0.5, "rule": "auto", "sensitivity": 0.95, "fitted_on": "validation"},
        "conformal": {"error": 0.1, "min_probability": {"no_tumor": 0.3, "tumor": 0.25}, "fitted_on": "validation"},
        "in_distribution": {
            "method": "mahalanobis",
            "features": 128,
            "limit": 23.5,
            "refused_share": 0.02,
            "fitted_on": "train",
        },
    },
    "weights": {"package": "weights", "version": "1.0", "sha256": "a" * 64, "license": "MIT", "trained_on": "ImageNet"},
}
# Grey level -> in_distribution, uncertain, warning codes.
EXPECTED: dict[int, tuple[float, bool, list[str]]] = {
    51: (0.8, False, []),
    102: (0.6, True, ["uncertain"]),
    204: (0.2, False, ["unlike_training"]),
    255: (0.0, True, ["unlike_training", "uncertain"]),
}


def grey_png(level: int) -> bytes:
    """Return a PNG of one grey level, 0-255."""
    return encode_png(Image.new("L", (64, 48), level))


IMAGES = [grey_png(level) for level in EXPECTED]


def save_model(folder: Path, card: dict[str, Any]) -> None:
    """Save a model: with the outputs `in_distribution` and `uncertain` if the card has a calibration, else without."""
    import tensorflow as tf

    encoded = tf.TensorSpec([None], tf.string, name="image_bytes")

    class BrightnessModel(tf.Module):
        @tf.function(input_signature=[encoded], autograph=False)
        def serving_default(self, image_bytes: "tf.Tensor") -> dict[str, "tf.Tensor"]:
            outputs = _outputs(tf.map_fn(_brightness, image_bytes, fn_output_signature=tf.float32))
            return outputs if "calibration" in card else {name: outputs[name] for name in ("probability", "label")}

        @tf.function(input_signature=[encoded], autograph=False)
        def explain(self, image_bytes: "tf.Tensor") -> dict[str, "tf.Tensor"]:
            heatmap = tf.tile(tf.constant([[[0.0, 0.25], [0.5, 1.0]]]), [tf.size(image_bytes), 1, 1])
            return self.serving_default(image_bytes) | {"heatmap": heatmap}

    model = BrightnessModel()
    signatures = {"serving_default": model.serving_default, "explain": model.explain}
    tf.saved_model.save(model, str(folder), signatures=signatures)
    (folder / MODEL_CARD_PATH).parent.mkdir()
    (folder / MODEL_CARD_PATH).write_text(json.dumps(card))


def _brightness(encoded: "tf.Tensor") -> "tf.Tensor":
    import tensorflow as tf

    pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.reduce_mean(tf.cast(pixels, tf.float32)) / 255


def _outputs(brightness: "tf.Tensor") -> dict[str, "tf.Tensor"]:
    import tensorflow as tf

    return {
        "probability": brightness[:, tf.newaxis],
        "label": tf.where(brightness >= 0.5, "tumor", "no_tumor"),
        "in_distribution": 1 - brightness,
        "uncertain": (tf.abs(brightness - 0.4) < 0.05) | (brightness > 0.9),
    }
