"""Register the versions of a store whose registry was lost, and a model that a failed run kept."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.files import file_lock
from components.register import restore as module
from components.register.__main__ import main
from components.register.restore import restore
from components.registry import connect, get_champion, open_registry_and_store
from tests.components.register.test_register import EVALUATION
from tests.conftest import ROOT


def stored(model: Path, store: Path, *versions: int) -> Path:
    """Copy a model to a store as some versions."""
    for version in versions:
        folder = shutil.copytree(model, store / MODEL_NAME / str(version))
        card = json.loads((folder / "assets.extra" / "model.json").read_text())
        card |= {"version": version}
        (folder / "assets.extra" / "model.json").write_text(json.dumps(card))
    return store


def printed_command(message: str) -> list[str]:
    """Return the words of the command in a message, run by this Python."""
    (command,) = re.findall(r"`\.venv/bin/python (.*)`", message)
    return [sys.executable, *shlex.split(command)]


def test_versions_beside_an_emptied_registry_are_named_and_the_printed_command_registers_them(
    tiny_model: Path, empty_registry: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "my runs"
    folder.mkdir()
    uri = f"sqlite:///{shutil.copy(empty_registry, folder)}"
    store = stored(tiny_model, folder / "models", 2, 5)
    (store / MODEL_NAME / "notes").mkdir()
    with pytest.raises(InputError) as raised:
        open_registry_and_store(str(store), uri)
    known = f"the model store {store} has versions that the registry {uri} does not know: 2, 5; register them with `"
    assert str(raised.value).startswith(known)
    done = subprocess.run(printed_command(str(raised.value)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "register: brain-tumor version 5 is the champion, trained on synthetic://?n=48&seed=0",
        "register: registered 2 stored versions: 2, 5",
    ]
    client = open_registry_and_store(str(store), uri)
    champion = get_champion(client)
    assert champion is not None
    assert (champion.version, champion.uri) == (5, str(store / MODEL_NAME / "5"))
    versions = {int(each.version): each.source for each in client.search_model_versions(f"name='{MODEL_NAME}'")}
    assert versions == {2: f"models/{MODEL_NAME}/2", 5: f"models/{MODEL_NAME}/5"}
    with pytest.raises(InputError, match="the registry knows every version"):
        restore(client, str(store))


def test_version_that_violates_the_contract_is_not_restored(tiny_model: Path, empty_registry: Path, tmp_path: Path) -> None:
    client = connect(f"sqlite:///{shutil.copy(empty_registry, tmp_path)}")
    store = stored(tiny_model, tmp_path / "models", 1)
    (store / MODEL_NAME / "1" / "assets.extra" / "tf_serving_warmup_requests").unlink()
    with pytest.raises(InputError, match=r"^verify: warm-up: .* is missing"):
        restore(client, str(store))
    (store / MODEL_NAME / "1").rename(store / MODEL_NAME / "3")
    with pytest.raises(InputError, match=r"/3: its model\.json has version 1, expected 3$"):
        restore(client, str(store))
    assert get_champion(client) is None
    assert client.search_model_versions(f"name='{MODEL_NAME}'") == []


def test_number_that_the_registry_has_passed_is_not_restored(
    tiny_model: Path, empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "verify_in_process", lambda folder: None)
    client = connect(f"sqlite:///{shutil.copy(empty_registry, tmp_path)}")
    client.create_registered_model(MODEL_NAME)
    for number in (1, 2):
        client.create_model_version(MODEL_NAME, source=f"models/{number}")
    client.delete_model_version(MODEL_NAME, "1")
    store = stored(tiny_model, tmp_path / "models", 1)
    with pytest.raises(InputError, match=r"the registry has later versions, expected none from 1 on$"):
        restore(client, str(store))
    client.delete_model_version(MODEL_NAME, "2")
    with pytest.raises(InputError, match=r"version 1: the registry has given this number before$"):
        restore(client, str(store))
    with pytest.raises(InputError, match=r"^model_store: got s3://models, expected a folder"):
        restore(client, "s3://models")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": {"passed": False, "reasons": ["ROC-AUC 0.5 is below 0.7"]}}, "did not pass the gate: ROC-AUC 0.5 is below"),
        ({"classes": ["glioma", "no_tumor"]}, "got classes glioma, no_tumor, expected those of the model"),
        ({"verdict": None}, "expected the metrics.json of a run"),
    ],
)
def test_evaluation_that_the_model_did_not_pass_registers_nothing(
    changes: dict[str, Any],
    message: str,
    tiny_model: Path,
    empty_registry: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = f"sqlite:///{shutil.copy(empty_registry, tmp_path)}"
    classes = json.loads((tiny_model / "assets.extra" / "model.json").read_text())["classes"]
    evaluation = EVALUATION | {"classes": classes, "verdict": {"passed": True, "reasons": []}} | changes
    (tmp_path / "metrics.json").write_text(json.dumps(evaluation))
    options = ["--model", str(tiny_model), "--evaluation", str(tmp_path / "metrics.json")]
    monkeypatch.setattr(sys, "argv", ["register", *options, "--model-store", str(tmp_path / "models"), "--tracking-uri", uri])
    with pytest.raises(SystemExit, match=message):
        main()
    assert get_champion(connect(uri)) is None
    assert not (tmp_path / "models").exists()


def test_registry_of_a_run_in_progress_is_left_to_it(
    empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{shutil.copy(empty_registry, tmp_path)}"
    monkeypatch.setattr(sys, "argv", ["register", "--model-store", str(tmp_path / "models"), "--tracking-uri", uri])
    with file_lock(tmp_path / ".lock"), pytest.raises(SystemExit, match=f"{tmp_path}: a run is in progress; wait for it$"):
        main()
