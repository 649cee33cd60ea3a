"""Export a trained network as a SavedModel that satisfies the model contract."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor.classes import NO_TUMOR
from brain_tumor.model_card import MODEL_CARD_PATH, MODEL_NAME, TRAINING_HASHES, WARMUP_REQUESTS
from brain_tumor.phantoms import phantom_pngs
from components.decision import Decision, fit_decision
from components.decode import decode_batch, heatmap_of_whole_image
from components.errors import room_for
from components.files import atomic_write
from components.hyperparameters import TrainConfig
from components.saved_model import SavedModel
from components.shards import TRAINING_SPLITS, Shards, read_records
from components.train.served_model import served_model
from components.trained import Network, Trained
from components.verify import HEATMAP_TOLERANCE, check_close, verify

SCHEMA_VERSION = 1
WARMUP_BATCH_SIZES = (1, 8)


def export(trained: Trained, shards: Shards, config: TrainConfig, *, model_dir: Path) -> None:
    """Write the SavedModel with both signatures, model.json, train.sha256 and warm-up requests, and verify it.

    Raises:
        components.verify.VerifyError: The SavedModel differs from the network.
    """
    import tensorflow as tf

    decision, fitted = fit_decision(trained.calibration, shards.classes, config)
    served = served_model(trained.network, decision, trained.in_distribution)
    card = model_card(trained, shards) | {"threshold": decision.threshold}
    card["calibration"] = fitted | {"in_distribution": trained.in_distribution.describe()}
    hashes = sorted(record.sha256 for record in read_records(shards, *TRAINING_SPLITS))
    size = sum(variable.numpy().nbytes for variable in served.variables)
    with room_for(size, model_dir.parent), atomic_write(model_dir) as partial:
        signatures = {"serving_default": served.serving_default, "explain": served.explain}
        tf.saved_model.save(served, str(partial), signatures=signatures)
        (partial / MODEL_CARD_PATH).parent.mkdir()
        (partial / MODEL_CARD_PATH).write_text(json.dumps(card, indent=2) + "\n")
        (partial / TRAINING_HASHES).write_text("".join(f"{sha256}\n" for sha256 in hashes))
        write_warmup_requests(partial / WARMUP_REQUESTS)
        verify(partial)
        verify_against_network(partial, trained.network, decision)
    print(f"train: exported and verified, {sum(f.stat().st_size for f in model_dir.rglob('*')) / 1e6:.1f} MB", flush=True)


def model_card(trained: Trained, shards: Shards) -> dict[str, Any]:
    """Return model.json before evaluation and registration: without version, metrics and reference."""
    network = trained.network
    return {
        "schema": SCHEMA_VERSION,
        "name": MODEL_NAME,
        "version": None,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "architecture": network.architecture,
        "explanation": network.explanation,
        "weights": network.weights,
        "classes": shards.classes,
        "tumor_classes": [name for name in shards.classes if name != NO_TUMOR],
        "threshold": None,
        "calibration": None,
        "image_size_px": network.image_size_px,
        "dataset": {key: shards.description[key] for key in ("source", "synthetic", "fingerprint", "counts")},
        "metrics": None,
        "confusion": None,
        "history": {name: [round(value, 6) for value in values] for name, values in trained.history.items()},
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


def verify_against_network(model_dir: Path, network: Network, decision: Decision) -> None:
    """Compare the SavedModel's outputs with the network, and its heatmap with a second implementation of the explanation.

    Raises:
        components.verify.VerifyError: The probability differs by more than `TOLERANCE`, the heatmap by more than
            `HEATMAP_TOLERANCE`.
    """
    import tensorflow as tf

    images = phantom_pngs(4)
    served = SavedModel(model_dir).run_signature("explain", images)
    pixels, boxes = decode_batch(tf.constant(images), network.image_size_px, crop=network.crops_brain)
    score, _ = network.score(pixels)
    check_close("probability of the network", decision.outputs(score)["probability"].numpy(), served["probability"])
    _, boundary = decision.decide(score)
    for index, label in enumerate(served["label"]):
        predicted = decision.classes.index(label)
        heat = network.reference_heatmap(pixels[index : index + 1], predicted, float(boundary[index]))
        if network.crops_brain:
            heat = heatmap_of_whole_image(tf.constant(heat[None], tf.float32), boxes[index : index + 1]).numpy()[0]
        expected = heat / heat.max() if heat.max() > 0 else np.zeros_like(heat)
        check_close("heatmap of the network", expected, served["heatmap"][index], HEATMAP_TOLERANCE)
