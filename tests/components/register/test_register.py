import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from brain_tumor.errors import InputError
from brain_tumor.file_digests import FILE_DIGESTS, check_file_digests, hash_files, model_digest
from brain_tumor.model_card import MODEL_CARD_PATH
from components.register import register as module
from components.register.register import register
from components.registry import RegisteredVersion, connect, get_champion, local_copy, signatures
from components.registry.signatures import SIGNING_KEY
from components.verify import verify
from tests.components.registry.keys import key_pair

EVALUATION: dict[str, Any] = {
    "metrics": {"accuracy": 0.9, "accuracy_interval": [0.8, 0.97], "roc_auc": 0.95, "pr_auc": None},
    "confusion": [[4, 1], [0, 5]],
    "reference": {"brightness": {"le": [0.5, "+Inf"], "share": [0.4, 1.0]}},
    "images": 10,
    "groups": 9,
    "calibration": [],
    "roc": {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0], "thresholds": [1.0, 0.0]},
    "per_class": {},
    "explanation": None,
}


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(EVALUATION))
    return path


@pytest.fixture
def registry(empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URI of an empty registry."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return f"sqlite:///{shutil.copy(empty_registry, tmp_path)}"


def test_version_is_signed_with_the_key_of_the_environment(
    tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_complete", without_verify)
    private, public = key_pair()
    monkeypatch.setenv(SIGNING_KEY, "no key")
    with pytest.raises(InputError, match=f"^{SIGNING_KEY}: "):
        register(tiny_model, evaluation, model_store=str(tmp_path / "models"), tracking_uri=registry)
    assert not (tmp_path / "models").exists()
    monkeypatch.setenv(SIGNING_KEY, private)
    for store in (str(tmp_path / "models"), "memory://signed-store"):
        registered = register(tiny_model, evaluation, model_store=store, tracking_uri=registry)
        with local_copy(registered) as folder:
            assert signatures.verify(registered, [public]) == model_digest(hash_files(folder))


def test_empty_file_which_kserve_would_not_download_is_refused(
    tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_an_empty_file(model_dir: Path, target: Path, card: dict[str, Any]) -> None:
        without_verify(model_dir, target, card)
        (target / "assets" / "vocabulary.txt").write_bytes(b"")

    monkeypatch.setattr(module, "_complete", with_an_empty_file)
    for store in (str(tmp_path / "models"), "memory://store-of-an-empty-file"):
        with pytest.raises(InputError, match=r"assets/vocabulary\.txt: got no content, expected some: KServe downloads no empty"):
            register(tiny_model, evaluation, model_store=store, tracking_uri=registry)
    assert get_champion(connect(registry)) is None


def without_verify(model_dir: Path, target: Path, card: dict[str, Any]) -> None:
    shutil.copytree(model_dir, target)
    (target / MODEL_CARD_PATH).write_text(json.dumps(card))


def test_each_version_gets_the_next_number_and_becomes_the_champion(
    tiny_model: Path,
    evaluation: Path,
    registry: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "_complete", without_verify)
    store = tmp_path / "models"
    assert get_champion(connect(registry)) is None
    first = register(tiny_model, evaluation, model_store=str(store), tracking_uri=registry)
    assert first == RegisteredVersion("brain-tumor", 1, str(store / "brain-tumor" / "1"))
    assert get_champion(connect(registry)) == first
    second = register(tiny_model, evaluation, model_store=str(store), tracking_uri=registry)
    assert get_champion(connect(registry)) == second == RegisteredVersion("brain-tumor", 2, str(store / "brain-tumor" / "2"))
    assert sorted(path.name for path in (store / "brain-tumor").iterdir()) == ["1", "2"]
    assert capsys.readouterr().out.splitlines() == [
        "register: brain-tumor version 1 is the champion, trained on synthetic://?n=48&seed=0",
        "register: brain-tumor version 2 is the champion, trained on synthetic://?n=48&seed=0",
        "register: the previous champion was version 1, trained on synthetic://?n=48&seed=0",
    ]
    assert connect(registry).get_model_version("brain-tumor", "2").tags["dataset.synthetic"] == "True"


def test_registered_version_has_a_complete_model_card_and_satisfies_the_contract(
    tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path
) -> None:
    registered = register(tiny_model, evaluation, model_store=str(tmp_path / "models"), tracking_uri=registry)
    card = json.loads((Path(registered.uri) / "assets.extra" / "model.json").read_text())
    assert card["version"] == 1
    assert card["metrics"]["accuracy"] == 0.9
    assert card["metrics"]["images"] == 10
    assert (card["confusion"], card["reference"]) == (EVALUATION["confusion"], EVALUATION["reference"])
    before = json.loads((tiny_model / "assets.extra" / "model.json").read_text())
    changed = {key for key in card if card[key] != before[key]}
    assert changed == {"version", "metrics", "confusion", "reference"}
    assert len(verify(Path(registered.uri))) == 7
    subprocess.run(["sha256sum", "--quiet", "-c", FILE_DIGESTS], cwd=registered.uri, check=True)
    listed = {line.split("  ")[1] for line in (Path(registered.uri) / FILE_DIGESTS).read_text().splitlines()}
    stored = {path.relative_to(registered.uri) for path in Path(registered.uri).rglob("*") if path.is_file()}
    assert listed == {str(path) for path in stored - {FILE_DIGESTS}}
    again = register(Path(registered.uri), evaluation, model_store=str(tmp_path / "models"), tracking_uri=registry)
    assert check_file_digests(Path(again.uri), "version 2") == len(listed)


def test_metrics_and_dataset_are_logged_to_mlflow(
    tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_complete", without_verify)
    registered = register(tiny_model, evaluation, model_store=str(tmp_path / "models"), tracking_uri=registry)
    client = connect(registry)
    run = client.get_run(client.get_model_version("brain-tumor", str(registered.version)).run_id)
    assert run.data.metrics == {"accuracy": 0.9, "roc_auc": 0.95}
    assert (
        run.data.params["dataset.fingerprint"]
        == json.loads((tiny_model / "assets.extra" / "model.json").read_text())["dataset"]["fingerprint"]
    )


def test_model_that_violates_the_contract_changes_neither_store_nor_champion(
    tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = str(tmp_path / "models")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_complete", without_verify)
        first = register(tiny_model, evaluation, model_store=store, tracking_uri=registry)
    broken = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    (broken / "assets.extra" / "tf_serving_warmup_requests").unlink()
    with pytest.raises(InputError, match=r"^verify: warm-up: .* is missing"):
        register(broken, evaluation, model_store=store, tracking_uri=registry)
    assert get_champion(connect(registry)) == first
    assert [path.name for path in Path(store, "brain-tumor").iterdir()] == ["1"]
    assert len(connect(registry).search_model_versions("name='brain-tumor'")) == 1


def test_killed_copy_leaves_no_version(
    tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(model_dir: Path, target: Path, card: dict[str, Any]) -> None:
        without_verify(model_dir, target, card)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_complete", killed)
    with pytest.raises(KeyboardInterrupt):
        register(tiny_model, evaluation, model_store=str(tmp_path / "models"), tracking_uri=registry)
    assert list((tmp_path / "models" / "brain-tumor").iterdir()) == []
    assert get_champion(connect(registry)) is None

    monkeypatch.setattr(module, "_complete", without_verify)
    again = register(tiny_model, evaluation, model_store=str(tmp_path / "models"), tracking_uri=registry)
    assert get_champion(connect(registry)) == again


def test_number_assigned_to_another_version_is_not_used(
    tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_complete", without_verify)
    client = connect(registry)
    client.create_registered_model("brain-tumor")
    client.create_model_version("brain-tumor", source="/elsewhere")
    monkeypatch.setattr(type(client), "search_model_versions", lambda self, _: [])
    registered = register(tiny_model, evaluation, model_store=str(tmp_path / "models"), tracking_uri=registry)
    assert registered.uri.endswith(f"/brain-tumor/{registered.version}")
    assert registered.version > 1
    assert client.get_model_version("brain-tumor", str(registered.version)).source == f"models/brain-tumor/{registered.version}"


def test_folder_that_is_not_in_the_registry_is_not_overwritten(
    tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path
) -> None:
    mine = tmp_path / "models" / "brain-tumor" / "1" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("keep me")
    with pytest.raises(InputError, match="exists but is not in the registry"):
        register(tiny_model, evaluation, model_store=str(tmp_path / "models"), tracking_uri=registry)
    assert mine.read_text() == "keep me"


def test_upload_to_object_storage_ends_with_model_json_and_the_digests(
    tiny_model: Path, evaluation: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.setattr(module, "_complete", without_verify)
    files = fsspec.filesystem("memory")
    written: list[str] = []
    put = type(files).put_file

    def record(self: object, source: str, target: str) -> None:
        written.append(target)
        put(self, source, target)

    monkeypatch.setattr(type(files), "put_file", record)
    registered = register(tiny_model, evaluation, model_store="memory://store/", tracking_uri=registry)
    assert registered.uri == "memory://store/brain-tumor/1"
    folder = "/store/brain-tumor/1/assets.extra"
    assert written[-2:] == [f"{folder}/model.json", f"{folder}/files.sha256"]
    assert json.loads(files.cat_file(written[-2]))["version"] == registered.version
    stored = {path.removeprefix("/store/brain-tumor/1/") for path in files.find("/store")}
    exported = {path.relative_to(tiny_model).as_posix() for path in tiny_model.rglob("*") if path.is_file()}
    assert stored == exported | {FILE_DIGESTS.as_posix()}
    with local_copy(registered) as downloaded:
        assert check_file_digests(downloaded, "version 1") == len(exported)


def test_version_on_object_storage_is_never_overwritten(
    tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.setattr(module, "_complete", without_verify)
    files = fsspec.filesystem("memory")
    files.pipe_file("/taken/brain-tumor/1/saved_model.pb", b"a champion")
    with pytest.raises(InputError, match="memory://taken/brain-tumor/1: exists but is not in the registry"):
        register(tiny_model, evaluation, model_store="memory://taken", tracking_uri=registry)
    assert files.cat_file("/taken/brain-tumor/1/saved_model.pb") == b"a champion"
    assert files.find("/taken") == ["/taken/brain-tumor/1/saved_model.pb"]


def test_killed_verify_is_reported(tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path) -> None:
    from subprocess import CompletedProcess
    from unittest.mock import patch

    with (
        patch("subprocess.run", return_value=CompletedProcess([], -9, stdout="", stderr="")),
        pytest.raises(InputError, match=r"^verify ended with status -9$"),
    ):
        register(tiny_model, evaluation, model_store=str(tmp_path / "models"), tracking_uri=registry)
