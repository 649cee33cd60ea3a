"""Check a model folder against the model contract: `python -m components.verify MODEL`."""

import argparse
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from PIL import Image

from brain_tumor.appearance import EXIF_ORIENTATION
from brain_tumor.errors import InputError
from brain_tumor.file_digests import UNCHECKED, check_file_digests
from brain_tumor.images import encode_png, read_image
from brain_tumor.model_card import SCHEMA, TRAINING_HASHES, WARMUP_REQUESTS, ModelCard, read_model_card
from brain_tumor.phantoms import phantom_pngs
from components.saved_model import SavedModel

SIGNATURES = {
    "serving_default": ("in_distribution", "label", "probability"),
    "explain": ("heatmap", "in_distribution", "label", "probability"),
}
TOLERANCE = 1e-5
# A GPU sums in another order for another batch size.
GPU_TOLERANCE = 1e-3
HEATMAP_TOLERANCE = 1e-3
# TensorFlow's and Pillow's JPEG decoders differ by some grey levels; on a grey image, as here, by hardly any.
JPEG_TOLERANCE = 0.05
ORIENTATION_ROTATED = 6
SHA256 = re.compile(r"[0-9a-f]{64}")


class VerifyError(InputError):
    """The model folder violates the model contract. The message names the check, the value found and the value expected."""


def verify(model_dir: Path) -> list[str]:
    """Check a model folder and return one line for each check.

    Raises:
        VerifyError: A check failed; the checks after it did not run.
    """
    if not model_dir.is_dir():
        raise VerifyError(f"{model_dir}: no such folder, expected one model version, e.g. runs/models/brain-tumor/1")
    files = _check_files(model_dir)
    card = _check_card(model_dir)
    model = _load(model_dir)
    return [
        files,
        f"model.json: schema {card.document['schema']}, classes {', '.join(card.classes)}",
        f"train.sha256: {_check_hashes(model_dir)} training images",
        _check_signatures(model, card),
        _check_warmup(model, model_dir),
        _check_outputs(model, card),
        _check_sample_images(model),
    ]


def _check_files(model_dir: Path) -> str:
    try:
        count = check_file_digests(model_dir, str(model_dir))
    except InputError as error:
        raise VerifyError(f"files: {error}") from error
    return f"files: {UNCHECKED}" if count is None else f"files: {count} with the SHA-256 of their registration"


def _check_card(model_dir: Path) -> ModelCard:
    try:
        card = read_model_card(model_dir)
        jsonschema.validate(card.document, json.loads(SCHEMA.read_text()))
    except InputError as error:
        raise VerifyError(f"model.json: {error}") from error
    except jsonschema.ValidationError as error:
        raise VerifyError(f"model.json: at {error.json_path}: {error.message}") from error
    if (card.threshold is None) != (len(card.classes) > 2):
        raise VerifyError(f"model.json: got threshold {card.threshold} with {len(card.classes)} classes, expected one with two")
    return card


def _load(model_dir: Path) -> SavedModel:
    try:
        return SavedModel(model_dir)
    except InputError as error:
        raise VerifyError(str(error)) from error


def _check_hashes(model_dir: Path) -> int:
    path = model_dir / TRAINING_HASHES
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    if not lines or not all(map(SHA256.fullmatch, lines)):
        raise VerifyError(f"train.sha256: expected at least one line in {path}, each a SHA-256")
    return len(lines)


def _check_signatures(model: SavedModel, card: ModelCard) -> str:
    fitted = {"uncertain"} if card.document.get("calibration") else set()  # an early model has none
    for name, outputs in SIGNATURES.items():
        if name not in model.signatures:
            raise VerifyError(f"signatures: got {', '.join(model.signatures) or 'none'}, expected {name}")
        signature = model.signatures[name]
        inputs = {key: (spec.dtype.name, spec.shape.as_list()) for key, spec in signature.structured_input_signature[1].items()}
        if inputs != {"image_bytes": ("string", [None])}:
            raise VerifyError(f"signatures: {name} has inputs {inputs}, expected image_bytes: string[N]")
        missing = {*outputs, *fitted} - set(signature.structured_outputs)
        if missing:
            raise VerifyError(f"signatures: {name} lacks outputs {', '.join(sorted(missing))}")
    return f"signatures: {' and '.join(SIGNATURES)}, image_bytes: string[N]"


def _check_warmup(model: SavedModel, model_dir: Path) -> str:
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    path = model_dir / WARMUP_REQUESTS
    if not path.is_file():
        raise VerifyError(f"warm-up: {path} is missing")
    names = []
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            names.append(request.model_spec.signature_name)
            model.run_signature(names[-1], list(request.inputs["image_bytes"].string_val))
    except (tf.errors.OpError, DecodeError, InputError) as error:
        raise VerifyError(f"warm-up: {path} is damaged, or the model fails on it: {error}") from error
    if set(names) != set(SIGNATURES):
        raise VerifyError(
            f"warm-up: got requests for {', '.join(sorted(set(names))) or 'no signature'}, expected both signatures"
        )
    return f"warm-up: {len(names)} requests succeeded"


def _check_outputs(model: SavedModel, card: ModelCard) -> str:
    images = phantom_pngs(4)
    columns = 1 if len(card.classes) == 2 else len(card.classes)
    default, explained = model.run_signature("serving_default", images), model.run_signature("explain", images)
    probability, heatmap = default["probability"], explained["heatmap"]
    if probability.shape != (len(images), columns) or not ((probability >= 0) & (probability <= 1)).all():
        raise VerifyError(f"outputs: got probability {probability.tolist()}, expected [N, {columns}] within 0-1")
    check_close("probability of explain", probability, explained["probability"])
    index = (probability[:, 0] >= card.threshold).astype(int) if columns == 1 else probability.argmax(axis=1)
    expected, labels = [card.classes[i] for i in index], list(default["label"])
    if labels != expected or list(explained["label"]) != labels:
        raise VerifyError(f"outputs: got label {labels}, expected {expected}")
    peaks = heatmap.max(axis=(1, 2))
    if heatmap.ndim != 3 or heatmap.min() < 0 or not (np.isclose(peaks, 1, atol=TOLERANCE) | (peaks == 0)).all():
        raise VerifyError(f"outputs: got heatmap {heatmap.shape}, peaks {peaks.tolist()}, expected [N, h, w], each peak 1 or 0")
    for position, image in enumerate(images):
        alone = model.run_signature("explain", [image])
        check_close("probability alone and in a batch", probability[position], alone["probability"][0])
        check_close("heatmap alone and in a batch", heatmap[position], alone["heatmap"][0], HEATMAP_TOLERANCE)
    return f"outputs: probability, label and heatmap {list(heatmap.shape[1:])} agree, alone and in a batch"


def _check_sample_images(model: SavedModel) -> str:
    """Compare the prediction for each format, as prepared for the model, with that for its pixels as decoded by Pillow."""
    samples = sample_images()
    images = [read_image(data) for data in samples.values()]
    actual = model.run_signature("serving_default", [image.data for image in images])["probability"]
    pixels = [encode_png(Image.fromarray(image.pixels)) for image in images]
    expected = model.run_signature("serving_default", pixels)["probability"]
    for name, right, found in zip(samples, expected, actual, strict=True):
        check_close(f"sample images: {name}", right, found, JPEG_TOLERANCE if name.startswith("JPEG") else TOLERANCE)
    return f"sample images: {len(samples)} formats in one batch, each decoded correctly"


def check_close(name: str, expected: np.ndarray, actual: np.ndarray, tolerance: float = TOLERANCE) -> None:
    """Compare two arrays.

    Raises:
        VerifyError: The shapes differ, or a value differs by more than the tolerance, which is larger on a GPU.
    """
    import tensorflow as tf

    if tf.config.list_logical_devices("GPU"):
        tolerance = max(tolerance, GPU_TOLERANCE)
    difference = float(np.max(np.abs(expected - actual))) if expected.shape == actual.shape else float("inf")
    if not difference <= tolerance:
        raise VerifyError(f"{name}: differs by {difference:.2g}, expected at most {tolerance:g}")


def sample_images() -> dict[str, bytes]:
    """Return one phantom encoded in every supported format, by the format's name."""
    grey = Image.open(io.BytesIO(phantom_pngs(2)[1])).convert("L")
    rgb, high_bit_depth = grey.convert("RGB"), Image.fromarray(np.asarray(grey, np.uint16) * 16)
    rotated = Image.Exif()
    rotated[EXIF_ORIENTATION] = ORIENTATION_ROTATED
    return {
        "JPEG grey": _encode(grey, "JPEG"),
        "JPEG RGB": _encode(rgb, "JPEG"),
        "JPEG CMYK": _encode(rgb.convert("CMYK"), "JPEG"),
        "JPEG rotated": _encode(rgb, "JPEG", exif=rotated),
        "PNG grey": _encode(grey, "PNG"),
        "PNG RGBA": _encode(rgb.convert("RGBA"), "PNG"),
        "PNG palette": _encode(rgb.quantize(64), "PNG"),
        "PNG 16-bit": _encode(high_bit_depth, "PNG"),
        "BMP palette": _encode(rgb.quantize(64), "BMP"),
        "BMP 1-bit": _encode(grey.convert("1"), "BMP"),
        "BMP 24-bit": _encode(rgb, "BMP"),
        "GIF": _encode(grey, "GIF"),
        "TIFF": _encode(grey, "TIFF"),
        "WebP": _encode(rgb, "WEBP"),
    }


def _encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def main() -> None:
    """Check a model folder. Print one line for each check; exit with status 1 at the first failure."""
    parser = argparse.ArgumentParser(prog="python -m components.verify", description=main.__doc__)
    parser.add_argument("model", type=Path, help="the folder of one model version, e.g. runs/models/brain-tumor/1")
    try:
        lines = verify(parser.parse_args().model)
    except VerifyError as error:
        sys.exit(f"verify: {error}")
    print("\n".join([*(f"ok  {line}" for line in lines), "all checks passed"]))


if __name__ == "__main__":
    main()
