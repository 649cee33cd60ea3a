"""The naive FastAPI baseline that the service is compared with: one process with Keras and Pillow.

It is the code of a careful notebook author: `model.predict`, then Grad-CAM as on keras.io, with an eager tape. The model is
built once, and nothing is slower than necessary.
"""

import base64
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

from brain_tumor.model_card import read_model_card
from components.architectures.cnn import LAST_CONVOLUTION, LOGITS, CnnConfig, build_model
from components.saved_model import SavedModel

if TYPE_CHECKING:
    import keras

JET = (matplotlib.colormaps["jet"](np.arange(256))[:, :3] * 255).astype(np.uint8)
OPACITY = 0.4


def load_network(folder: Path, config: CnnConfig) -> "keras.Model":
    """Build the network of a configuration with the weights of a SavedModel and the temperature of its probabilities."""
    network = build_model(config, 2)
    saved = SavedModel(folder)
    weights = {variable.name.removesuffix(":0"): variable.numpy() for variable in saved.signatures["serving_default"].variables}
    expected = {weight.path: tuple(weight.shape) for weight in network.weights}
    if expected != {path: value.shape for path, value in weights.items()}:
        raise SystemExit(f"{folder}: expected a model of architecture=cnn with the weights {expected}")
    for weight in network.weights:
        weight.assign(weights[weight.path])
    calibration = read_model_card(folder).document.get("calibration")
    temperature = calibration["temperature"]["value"] if calibration else 1.0  # an early model has none
    logits = network.get_layer(LOGITS)
    logits.set_weights([weight / temperature for weight in logits.get_weights()])
    return network


def create_app(model_dir: Path) -> FastAPI:
    """Return an application with POST /predict; `?explain=true` adds heatmap and overlay."""
    import keras

    model = load_network(model_dir, CnnConfig())
    threshold = read_model_card(model_dir).threshold or 0.5
    size = model.input_shape[1:3]
    grad_model = keras.Model(model.input, [model.get_layer(LAST_CONVOLUTION).output, model.output])
    app = FastAPI()

    @app.post("/predict")
    def predict(file: UploadFile, explain: bool = False) -> dict[str, Any]:
        image = Image.open(file.file).convert("RGB")
        x = np.asarray(image.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)[np.newaxis] / 255
        probability = float(model.predict(x, verbose=0)[0, 0])
        prediction: dict[str, Any] = {"label": "tumor" if probability >= threshold else "no_tumor", "probability": probability}
        if explain:
            heatmap = grad_cam(grad_model, x)
            prediction |= {"heatmap": heatmap.tolist(), "overlay_png": base64.b64encode(overlay(image, heatmap)).decode()}
        return prediction

    return app


def grad_cam(grad_model: "keras.Model", x: np.ndarray) -> np.ndarray:
    """Return the Grad-CAM heatmap of the tumour probability, float32 [h, w], 0-1."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        features, prediction = grad_model(x)
        score = prediction[:, 0]
    weights = tf.reduce_mean(tape.gradient(score, features), axis=(0, 1, 2))
    heatmap = tf.nn.relu(tf.reduce_sum(features[0] * weights, axis=-1))
    return tf.math.divide_no_nan(heatmap, tf.reduce_max(heatmap)).numpy()


def overlay(image: Image.Image, heatmap: np.ndarray) -> bytes:
    levels = Image.fromarray((heatmap * 255).astype(np.uint8)).resize(image.size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    Image.blend(image, Image.fromarray(JET[np.asarray(levels)]), OPACITY).save(buffer, "PNG")
    return buffer.getvalue()


def main() -> None:
    """Serve the model in MODEL_DIR on HTTP_PORT."""
    uvicorn.run(create_app(Path(os.environ["MODEL_DIR"])), port=int(os.environ["HTTP_PORT"]), log_level="warning")


if __name__ == "__main__":
    main()
