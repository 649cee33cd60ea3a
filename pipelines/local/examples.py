"""Classify held-out images of a run with the service and save each next to its overlay."""

import base64
import json
import urllib.request
from itertools import zip_longest
from pathlib import Path
from typing import Any

from brain_tumor.images import read_image
from brain_tumor.model_card import MODEL_NAME, TRAINING_HASHES
from brain_tumor.overlay import MAX_OVERLAY_SIDE_PX, scale_image
from components.dataset import HELD_OUT, ImagesZip, read_splits
from components.files import atomic_write
from pipelines.local.processes import open_local


def classify_held_out(folder: Path, count: int, *, model_dir: Path, url: str) -> None:
    """Classify held-out images of a run that the model was not trained on.

    Prints one line for each image and writes `examples/<n>.png`, the image, and `examples/<n>-overlay.png` into the run's folder.

    Args:
        folder: The run's folder.
        count: Maximum number of images, taken from the labels in turn.
        model_dir: The folder of the served model.
        url: URL of the transformer.
    """
    trained_on = set((model_dir / TRAINING_HASHES).read_text().split())
    labels, encoded = _held_out(folder, count, trained_on)
    if not labels:
        print("no examples: the champion was trained on every held-out image of this run")
        return
    with atomic_write(folder.resolve() / "examples") as examples:
        examples.mkdir()
        for index, (label, data) in enumerate(zip(labels, encoded, strict=True), start=1):
            prediction = _explain(url, data)
            scale_image(read_image(data).image, MAX_OVERLAY_SIDE_PX).save(examples / f"{index}.png")
            (examples / f"{index}-overlay.png").write_bytes(base64.b64decode(prediction["overlay_png"]))
            result = f"predicted {prediction['label']} (confidence {prediction['confidence']:.3f}), label {label}"
            print(f"  {folder / 'examples'}/{index}-overlay.png  {result}")


def _held_out(folder: Path, count: int, trained_on: set[str]) -> tuple[list[str], list[bytes]]:
    """Return labels and encoded bytes of the first held-out images that are not in `trained_on`, from the labels in turn."""
    splits = read_splits(folder / "splits.csv")
    samples = [sample for sample in splits if sample.split == HELD_OUT and sample.sha256 not in trained_on]
    by_label = [[sample for sample in samples if sample.label == label] for label in sorted({s.label for s in samples})]
    in_turn = [sample for row in zip_longest(*by_label) for sample in row if sample][:count]
    with ImagesZip(folder / "images.zip") as images:
        return [sample.label for sample in in_turn], [images.read_bytes(sample.sha256) for sample in in_turn]


def _explain(url: str, data: bytes) -> dict[str, Any]:
    body = json.dumps({"instances": [{"image_bytes": {"b64": base64.b64encode(data).decode()}}]}).encode()
    request = urllib.request.Request(f"{url}/v1/models/{MODEL_NAME}:explain", body, {"Content-Type": "application/json"})
    with open_local(request, timeout=30) as response:
        return dict(json.load(response)["predictions"][0])
