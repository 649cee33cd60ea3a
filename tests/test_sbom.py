"""The bills of materials of the container images, validated by CycloneDX' own library."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from sbom import IMAGES
from tests.conftest import ROOT, VERSION

BASE = "mirror.example:5000/python:3.11-slim"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sbom")
    command = [sys.executable, str(ROOT / "sbom.py"), str(folder), "--base", BASE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_every_container_image_has_one() -> None:
    found = {str(path.parent.relative_to(ROOT)) for depth in ("*", "*/*") for path in ROOT.glob(f"{depth}/Dockerfile")}
    assert found == set(IMAGES.values())


@pytest.mark.parametrize("name", IMAGES)
def test_it_is_cyclonedx_and_lists_what_the_lock_installs(folder: Path, name: str) -> None:
    text = (folder / f"{name}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    image = document["metadata"]["component"]
    assert (image["type"], image["name"], image["version"]) == ("container", f"brain-tumor-{name}", VERSION)
    locked = dict(
        re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", (ROOT / IMAGES[name] / "requirements.txt").read_text(), re.MULTILINE)
    )
    listed = {each["name"]: each["version"] for each in document["components"]}
    assert listed.pop("mirror.example:5000/python") == "3.11-slim"
    assert listed == locked
    libraries = [each for each in document["components"] if each["type"] == "library"]
    assert all(each["purl"].startswith("pkg:pypi/") for each in libraries)
    (depends,) = (each["dependsOn"] for each in document["dependencies"] if each["ref"] == image["bom-ref"])
    assert len(depends) == len(locked) + 1


def test_equal_locks_give_equal_documents(folder: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "sbom.py"), str(tmp_path), "--base", BASE], check=True, capture_output=True)
    for name in IMAGES:
        assert (tmp_path / f"{name}.cdx.json").read_bytes() == (folder / f"{name}.cdx.json").read_bytes()
