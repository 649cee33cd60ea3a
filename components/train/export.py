"""Export a network as the SavedModel that is the system's contract."""

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.files import written_whole
from components.ingest.classes import NO_TUMOR
from components.saved_model import CARD, MODEL_NAME, TRAINING_HASHES, WARMUP_REQUESTS
from components.train.config import TrainConfig
from components.train.data import Shards, read_hashes
from components.train.model import LAST_CONVOLUTION, LOGITS, decode_batch

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

SCHEMA_VERSION = 1
WARMUP_BATCH_SIZES = (1, 8)


def export(
    model: "keras.Model", shards: Shards, config: TrainConfig, *, history: dict[str, list[float]], model_dir: Path
) -> None:
    """Write the SavedModel with both signatures, model.json, train.sha256 and warm-up requests, and verify it.

    Raises:
        components.train.verify.VerifyError: what was written does not answer as the live network does.
    """
    import tensorflow as tf

    from components.train.verify import verify, verify_against_live

    served = served_model(model, shards.classes, config)
    with written_whole(model_dir) as partial:
        signatures = {"serving_default": served.serving_default, "explain": served.explain}
        tf.saved_model.save(served, str(partial), signatures=signatures)
        (partial / CARD).parent.mkdir()
        card = json.dumps(model_card(model, shards, config, history), indent=2)
        (partial / CARD).write_text(card + "\n")
        (partial / TRAINING_HASHES).write_text("".join(f"{sha256}\n" for sha256 in read_hashes(shards)))
        write_warmup_requests(partial / WARMUP_REQUESTS)
        verify(partial)
        verify_against_live(partial, model, shards.classes)
    print(f"train: exported and verified, {sum(f.stat().st_size for f in model_dir.rglob('*')) / 1e6:.1f} MB", flush=True)


def served_model(model: "keras.Model", classes: list[str], config: TrainConfig) -> "tf.Module":
    """Wrap a network so that it takes encoded pictures, names the class and explains it.

    Grad-CAM (Selvaraju et al. 2017) is taken at the last convolution, of the score before the sigmoid or softmax: the
    gradient of a sigmoid is exactly 0 in float32 from a logit of 17 on.
    """
    import keras
    import tensorflow as tf

    last_convolution = model.get_layer(LAST_CONVOLUTION).output
    to_features = keras.Model(model.input, last_convolution)
    to_score = keras.Model(last_convolution, model.get_layer(LOGITS).output)
    binary = len(classes) == 2
    encoded = tf.TensorSpec([None], tf.string, name="image_bytes")

    class ServedModel(tf.Module):
        def __init__(self) -> None:
            super().__init__(name="brain_tumor")
            self.to_features = to_features
            self.to_score = to_score

        @tf.function(input_signature=[encoded], autograph=False)
        def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.answer(self.to_score(self.features(image_bytes), training=False))

        @tf.function(input_signature=[encoded], autograph=False)
        def explain(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            features = self.features(image_bytes)
            with tf.GradientTape() as tape:
                tape.watch(features)
                score = self.to_score(features, training=False)
                called = self.called_score(score)
            # Items do not meet inside the network, so the gradient of the sum holds each item's own.
            weights = tf.reduce_mean(tape.gradient(called, features), axis=(1, 2), keepdims=True)
            heat = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))
            peak = tf.reduce_max(heat, axis=(1, 2), keepdims=True)
            return self.answer(score) | {"heatmap": tf.math.divide_no_nan(heat, peak)}

        def features(self, image_bytes: tf.Tensor) -> tf.Tensor:
            return self.to_features(decode_batch(image_bytes, config.image_size_px), training=False)

        def called_score(self, score: tf.Tensor) -> tf.Tensor:
            """The score, float32 [N], of the class in `label`; that of `no_tumor` with one neuron is the negative."""
            if binary:
                return tf.where(tf.sigmoid(score) >= config.threshold, score, -score)[:, 0]
            return tf.reduce_max(score, axis=-1)

        def answer(self, score: tf.Tensor) -> dict[str, tf.Tensor]:
            if binary:
                probability = tf.sigmoid(score)
                index = tf.cast(probability[:, 0] >= config.threshold, tf.int32)
            else:
                probability = tf.nn.softmax(score)
                index = tf.argmax(score, axis=-1, output_type=tf.int32)
            return {
                "probability": probability,
                "label": tf.gather(tf.constant(classes), index),
                "in_distribution": tf.ones_like(probability[:, 0]),
            }

    return ServedModel()


def model_card(model: "keras.Model", shards: Shards, config: TrainConfig, history: dict[str, list[float]]) -> dict[str, Any]:
    """Return model.json as it stands before evaluation and registration."""
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


def phantom_pngs(count: int) -> list[bytes]:
    """Return encoded phantoms, every other one with a lesion: pictures to try a model on that are nobody's."""
    from PIL import Image

    from components.ingest.phantoms import make_phantom
    from serving.images import encode_png

    rng = np.random.default_rng(0)
    return [encode_png(Image.fromarray(make_phantom(rng, lesion=index % 2 == 1)[0])) for index in range(count)]


def write_warmup_requests(path: Path) -> None:
    """Write requests that TF Serving runs through both signatures before it says it is ready."""
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
                writer.write(log.SerializeToString())
