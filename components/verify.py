"""Check that a model folder keeps the contract: `python -m components.verify MODEL`."""

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from PIL import Image

from brain_tumor.errors import InputError
from brain_tumor.images import EXIF_ORIENTATION, encode_png, read_image
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


class VerifyError(InputError):
    """The model folder does not keep the contract; the message names the check, what came and what was wanted."""


def verify(model_dir: Path) -> list[str]:
    """Check a model folder from disk and return a line for each check that held.

    Raises:
        VerifyError: the first check that did not hold.
    """
    if not model_dir.is_dir():
        raise VerifyError(f"no such folder: {model_dir}: wanted that of one version, e.g. runs/models/brain-tumor/1")
    card = _check_card(model_dir)
    model = _load(model_dir)
    return [
        f"model.json: schema {card.document['schema']}, classes {', '.join(card.classes)}",
        f"train.sha256: {_check_hashes(model_dir)} training images",
        _check_signatures(model),
        _check_warmup(model, model_dir),
        _check_outputs(model, card),
        _check_sample_images(model),
    ]


def sample_images() -> dict[str, bytes]:
    """Return one phantom in every format that may come, by name."""
    grey = Image.open(io.BytesIO(phantom_pngs(2)[1])).convert("L")
    rgb, deep = grey.convert("RGB"), Image.fromarray(np.asarray(grey, np.uint16) * 16)
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
        "PNG 16-bit": _encode(deep, "PNG"),
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


def _load(model_dir: Path) -> SavedModel:
    try:
        return SavedModel(model_dir)
    except InputError as error:
        raise VerifyError(str(error)) from error


def _check_card(model_dir: Path) -> ModelCard:
    try:
        card = read_model_card(model_dir)
        jsonschema.validate(card.document, json.loads(SCHEMA.read_text()))
    except InputError as error:
        raise VerifyError(f"model.json: {error}") from error
    except jsonschema.ValidationError as error:
        raise VerifyError(f"model.json: at {error.json_path}: {error.message}") from error
    if (card.threshold is None) != (len(card.classes) > 2):
        raise VerifyError(f"model.json: threshold is {card.threshold} with {len(card.classes)} classes, wanted one with two")
    return card


def _check_hashes(model_dir: Path) -> int:
    path = model_dir / TRAINING_HASHES
    lines = path.read_text().splitlines() if path.is_file() else []
    if not lines or any(len(line) != 64 or set(line) - set("0123456789abcdef") for line in lines):
        raise VerifyError(f"train.sha256: wanted one SHA-256 a line in {path}, at least one")
    return len(lines)


def _check_signatures(model: SavedModel) -> str:
    for name, outputs in SIGNATURES.items():
        if name not in model.signatures:
            raise VerifyError(f"signatures: {name} is missing, found {', '.join(model.signatures) or 'none'}")
        signature = model.signatures[name]
        inputs = {key: (spec.dtype.name, spec.shape.as_list()) for key, spec in signature.structured_input_signature[1].items()}
        if inputs != {"image_bytes": ("string", [None])}:
            raise VerifyError(f"signatures: {name} takes {inputs}, wanted image_bytes: string[N]")
        missing = set(outputs) - set(signature.structured_outputs)
        if missing:
            raise VerifyError(f"signatures: {name} does not answer {', '.join(sorted(missing))}")
    return f"signatures: {' and '.join(SIGNATURES)}, image_bytes: string[N]"


def _check_warmup(model: SavedModel, model_dir: Path) -> str:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    path = model_dir / WARMUP_REQUESTS
    if not path.is_file():
        raise VerifyError(f"warm-up: {path} is missing")
    asked = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        model.run_signature(request.model_spec.signature_name, list(request.inputs["image_bytes"].string_val))
        asked.append(request.model_spec.signature_name)
    if set(asked) != set(SIGNATURES):
        raise VerifyError(f"warm-up: asks {', '.join(sorted(set(asked))) or 'nothing'}, wanted both signatures")
    return f"warm-up: {len(asked)} requests answered"


def _check_outputs(model: SavedModel, card: ModelCard) -> str:
    images = phantom_pngs(4)
    classes, columns = card.classes, 1 if len(card.classes) == 2 else len(card.classes)
    plain, explained = model.run_signature("serving_default", images), model.run_signature("explain", images)
    probability, heatmap = plain["probability"], explained["heatmap"]
    if probability.shape != (len(images), columns) or not ((probability >= 0) & (probability <= 1)).all():
        raise VerifyError(f"answers: probability is {probability.tolist()}, wanted [N, {columns}] within 0-1")
    check_close("probability of explain", probability, explained["probability"])
    index = (probability[:, 0] >= card.threshold).astype(int) if columns == 1 else probability.argmax(axis=1)
    if list(plain["label"]) != [classes[one] for one in index] or list(explained["label"]) != list(plain["label"]):
        raise VerifyError(f"answers: label is {list(plain['label'])}, wanted {[classes[one] for one in index]}")
    peaks = heatmap.max(axis=(1, 2))
    if heatmap.ndim != 3 or heatmap.min() < 0 or not (np.isclose(peaks, 1, atol=TOLERANCE) | (peaks == 0)).all():
        raise VerifyError(f"answers: heatmap is {heatmap.shape} with peaks {peaks.tolist()}, wanted [N, h, w], each peak 1 or 0")
    for position, image in enumerate(images):
        alone = model.run_signature("explain", [image])
        check_close("probability alone and in a batch", probability[position], alone["probability"][0])
        check_close("heatmap alone and in a batch", heatmap[position], alone["heatmap"][0], HEATMAP_TOLERANCE)
    return f"answers: probability, label and heatmap {list(heatmap.shape[1:])} agree, alone and in a batch"


def _check_sample_images(model: SavedModel) -> str:
    table = sample_images()
    images = [read_image(data) for data in table.values()]
    together = model.run_signature("serving_default", [image.data for image in images])["probability"]
    seen = [encode_png(Image.fromarray(image.pixels)) for image in images]
    wanted = model.run_signature("serving_default", seen)["probability"]
    for name, came, right in zip(table, together, wanted, strict=True):
        check_close(f"decode table: {name}", right, came, JPEG_TOLERANCE if name.startswith("JPEG") else TOLERANCE)
    return f"decode table: {len(table)} formats in one batch, each as a person sees it"


def check_close(what: str, wanted: np.ndarray, came: np.ndarray, tolerance: float = TOLERANCE) -> None:
    import tensorflow as tf

    if tf.config.list_logical_devices("GPU"):
        tolerance = max(tolerance, GPU_TOLERANCE)
    difference = float(np.max(np.abs(wanted - came))) if wanted.shape == came.shape else float("inf")
    if not difference <= tolerance:
        raise VerifyError(f"{what}: differs by {difference:.2g}, allowed {tolerance:g}")


def main() -> None:
    """Print a line for each check that holds; exit with 1 at the first that does not."""
    parser = argparse.ArgumentParser(prog="python -m components.verify", description=main.__doc__)
    parser.add_argument("model", type=Path, help="the folder of one model version, e.g. runs/models/brain-tumor/1")
    try:
        lines = verify(parser.parse_args().model)
    except VerifyError as error:
        sys.exit(f"verify: {error}")
    print("\n".join([*(f"ok  {line}" for line in lines), "the contract is kept"]))


if __name__ == "__main__":
    main()
