"""Export a network as a SavedModel that satisfies the model contract."""

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brain_tumor.classes import NO_TUMOR
from brain_tumor.model_card import MODEL_CARD_PATH, MODEL_NAME, TRAINING_HASHES, WARMUP_REQUESTS
from brain_tumor.phantoms import phantom_pngs
from components.files import atomic_write
from components.hyperparameters import TrainConfig
from components.saved_model import SavedModel
from components.train.data import Shards, read_hashes
from components.train.decode import decode_batch
from components.train.network import LAST_CONVOLUTION, LOGITS
from components.train.served_model import served_model
from components.verify import HEATMAP_TOLERANCE, check_close, verify

if TYPE_CHECKING:
    import keras

SCHEMA_VERSION = 1
WARMUP_BATCH_SIZES = (1, 8)


def export(
    model: "keras.Model", shards: Shards, config: TrainConfig, *, history: dict[str, list[float]], model_dir: Path
) -> None:
    """Write the SavedModel with both signatures, model.json, train.sha256 and warm-up requests, and verify it.

    Raises:
        components.verify.VerifyError: The SavedModel differs from the Keras model.
    """
    import tensorflow as tf

    served = served_model(model, shards.classes, config)
    with atomic_write(model_dir) as partial:
        signatures = {"serving_default": served.serving_default, "explain": served.explain}
        tf.saved_model.save(served, str(partial), signatures=signatures)
        (partial / MODEL_CARD_PATH).parent.mkdir()
        card = json.dumps(model_card(model, shards, config, history), indent=2)
        (partial / MODEL_CARD_PATH).write_text(card + "\n")
        (partial / TRAINING_HASHES).write_text("".join(f"{sha256}\n" for sha256 in read_hashes(shards)))
        write_warmup_requests(partial / WARMUP_REQUESTS)
        verify(partial)
        verify_against_keras_model(partial, model, shards.classes)
    print(f"train: exported and verified, {sum(f.stat().st_size for f in model_dir.rglob('*')) / 1e6:.1f} MB", flush=True)


def model_card(model: "keras.Model", shards: Shards, config: TrainConfig, history: dict[str, list[float]]) -> dict[str, Any]:
    """Return model.json before evaluation and registration: without version, metrics and reference."""
    return {
        "schema": SCHEMA_VERSION,
        "name": MODEL_NAME,
        "version": None,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "architecture": model.name,
        "classes": shards.classes,
        "tumor_classes": [name for name in shards.classes if name != NO_TUMOR],
        "threshold": config.threshold if len(shards.classes) == 2 else None,
        "image_size_px": config.image_size_px,
        "dataset": {key: shards.description[key] for key in ("source", "synthetic", "fingerprint", "counts")},
        "metrics": None,
        "confusion": None,
        "history": {name: [round(value, 6) for value in values] for name, values in history.items()},
        "reference": None,
    }


def write_warmup_requests(path: Path) -> None:
    """Write the requests that TF Serving sends to both signatures before it reports ready."""
    import tensorflow as tf
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in ("serving_default", "explain"):
            for size in WARMUP_BATCH_SIZES:
                request = predict_pb2.PredictRequest(
                    model_spec=model_pb2.ModelSpec(name=MODEL_NAME, signature_name=signature),
                    inputs={"image_bytes": tf.make_tensor_proto(phantom_pngs(size))},
                )
                log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
                writer.write(log.SerializeToString(deterministic=True))


def verify_against_keras_model(model_dir: Path, model: "keras.Model", classes: list[str]) -> None:
    """Compare the SavedModel's outputs with the Keras model, and its heatmap with a second implementation of Grad-CAM.

    Raises:
        components.verify.VerifyError: The probability differs by more than `TOLERANCE`, the heatmap by more than
            `HEATMAP_TOLERANCE`.
    """
    import keras
    import tensorflow as tf

    images = phantom_pngs(4)
    served = SavedModel(model_dir).run_signature("explain", images)
    pixels = decode_batch(tf.constant(images), model.input_shape[1])
    check_close("probability of the Keras model", model.predict(pixels, verbose=0), served["probability"])

    outputs = keras.Model(model.input, [model.get_layer(LAST_CONVOLUTION).output, model.get_layer(LOGITS).output])
    predicted = [classes.index(label) for label in served["label"]]
    for index, label in enumerate(predicted):
        with tf.GradientTape() as tape:
            features, score = outputs(pixels[index : index + 1], training=False)
            target = score[0, label] if len(classes) > 2 else (score[0, 0] if label == 1 else -score[0, 0])
        gradient = tape.gradient(target, features)[0].numpy()
        heat = np.maximum((features[0].numpy() * gradient.mean(axis=(0, 1))).sum(axis=-1), 0)
        check_close(
            "heatmap of the Keras model",
            heat / heat.max() if heat.max() > 0 else heat,
            served["heatmap"][index],
            HEATMAP_TOLERANCE,
        )
