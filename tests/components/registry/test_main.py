"""The commands on one registered version."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.registry import CHAMPION, RegisteredVersion, connect, relative_uri
from components.registry.__main__ import parser, run
from components.registry.signatures import SIGNING_KEY, verify
from tests.components.registry.conftest import write_version
from tests.components.registry.keys import key_pair
from tests.conftest import ROOT

PRIVATE, PUBLIC = key_pair()


@pytest.fixture
def runs(empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs with two registered versions, of which the first is the champion."""
    for name in ("MLFLOW_TRACKING_URI", SIGNING_KEY):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.copy(empty_registry, folder)
    client = connect(f"sqlite:///{folder}/mlflow.db")
    client.create_registered_model(MODEL_NAME)
    for version in (1, 2):
        path = write_version(folder / "models" / MODEL_NAME / str(version), version=version)
        client.create_model_version(MODEL_NAME, source=relative_uri(client, str(path)))
    client.set_registered_model_alias(MODEL_NAME, CHAMPION, "1")
    return folder


def call(runs: Path, *arguments: str) -> str:
    return run(parser().parse_args([*arguments, "--runs", str(runs)]))


def test_sign_signs_a_registered_version(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = RegisteredVersion(MODEL_NAME, 2, str(runs / "models" / MODEL_NAME / "2"))
    with pytest.raises(InputError, match=f"^{SIGNING_KEY}: got none, expected a private key"):
        call(runs, "sign", "2")
    monkeypatch.setenv(SIGNING_KEY, PRIVATE)
    line = call(runs, "sign", "2")
    assert line == f"{MODEL_NAME} version 2 is signed: {runs}/models/{MODEL_NAME}/signatures/2.sig"
    assert len(verify(second, [PUBLIC])) == 64


def test_image_and_bill_of_materials_are_of_the_version_or_the_champion(runs: Path, tmp_path: Path) -> None:
    image, sbom = tmp_path / "out" / "model.tar", tmp_path / "out" / "model.cdx.json"
    assert call(runs, "image", "2", "--output", str(image)).startswith(f"{MODEL_NAME} version 2 is {image}, sha256:")
    assert call(runs, "sbom", "--output", str(sbom)) == f"{MODEL_NAME} version 1 is described in {sbom}"
    assert image.is_file()
    assert sbom.is_file()


def test_missing_version_or_champion_is_one_line(runs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "components.registry", "sign", "9", "--runs", str(runs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("sign: error: version 9 is not in the registry: ")
    connect(f"sqlite:///{runs}/mlflow.db").delete_registered_model_alias(MODEL_NAME, CHAMPION)
    with pytest.raises(InputError, match="there is no champion"):
        call(runs, "sbom", "--output", str(tmp_path / "model.cdx.json"))
