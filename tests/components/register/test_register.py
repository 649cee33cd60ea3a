import http.server
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_CARD_PATH
from components.register import register as module
from components.register.register import register
from components.registry import RegisteredVersion, connect, get_champion, local_copy, open_registry_and_store
from components.verify import verify

EVALUATION: dict[str, Any] = {
    "metrics": {"accuracy": 0.9, "accuracy_interval": [0.8, 0.97], "roc_auc": 0.95, "pr_auc": None},
    "confusion": [[4, 1], [0, 5]],
    "reference": {"brightness": {"le": [0.5, "+Inf"], "share": [0.4, 1.0]}},
    "images": 10,
    "groups": 9,
    "calibration": [],
    "roc": {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0], "thresholds": [1.0, 0.0]},
    "per_class": {},
    "grad_cam": None,
}


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(EVALUATION))
    return path


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return f"sqlite:///{tmp_path}/registry/mlflow.db"


def test_versions_count_up_and_the_alias_moves(
    tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
        "register: before it was version 1, trained on synthetic://?n=48&seed=0",
    ]
    assert connect(registry).get_model_version("brain-tumor", "2").tags["dataset.synthetic"] == "True"


def test_card_is_completed_and_the_version_keeps_the_contract(
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
    assert len(verify(Path(registered.uri))) == 6


def test_metrics_and_data_are_logged(tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path) -> None:
    registered = register(tiny_model, evaluation, model_store=str(tmp_path / "models"), tracking_uri=registry)
    client = connect(registry)
    run = client.get_run(client.get_model_version("brain-tumor", str(registered.version)).run_id)
    assert run.data.metrics == {"accuracy": 0.9, "roc_auc": 0.95}
    assert (
        run.data.params["dataset.fingerprint"]
        == json.loads((tiny_model / "assets.extra" / "model.json").read_text())["dataset"]["fingerprint"]
    )


def test_model_that_breaks_the_contract_leaves_store_and_champion_alone(
    tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path
) -> None:
    store = str(tmp_path / "models")
    first = register(tiny_model, evaluation, model_store=store, tracking_uri=registry)
    broken = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    (broken / "assets.extra" / "tf_serving_warmup_requests").unlink()
    with pytest.raises(InputError, match=r"^verify: warm-up: .* is missing"):
        register(broken, evaluation, model_store=store, tracking_uri=registry)
    assert get_champion(connect(registry)) == first
    assert [path.name for path in Path(store, "brain-tumor").iterdir()] == ["1"]
    assert len(connect(registry).search_model_versions("name='brain-tumor'")) == 1


def without_verify(model_dir: Path, target: Path, card: dict[str, Any]) -> None:
    shutil.copytree(model_dir, target)
    (target / MODEL_CARD_PATH).write_text(json.dumps(card))


def test_killed_while_copying_leaves_no_version(
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


def test_number_taken_by_another_in_between_is_not_used(
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
    assert client.get_model_version("brain-tumor", str(registered.version)).source == registered.uri


def test_folder_that_the_registry_does_not_know_is_not_overwritten(
    tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path
) -> None:
    mine = tmp_path / "models" / "brain-tumor" / "1" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("keep me")
    with pytest.raises(InputError, match="is there already and the registry does not know of it"):
        register(tiny_model, evaluation, model_store=str(tmp_path / "models"), tracking_uri=registry)
    assert mine.read_text() == "keep me"


def test_object_storage_gets_model_json_last(
    tiny_model: Path, evaluation: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.setattr(module, "_complete", without_verify)
    files = fsspec.filesystem("memory")
    written: list[str] = []
    put = type(files).put_file

    def noted(self: object, source: str, target: str) -> None:
        written.append(target)
        put(self, source, target)

    monkeypatch.setattr(type(files), "put_file", noted)
    registered = register(tiny_model, evaluation, model_store="memory://store/", tracking_uri=registry)
    assert registered.uri == "memory://store/brain-tumor/1"
    assert written[-1] == "/store/brain-tumor/1/assets.extra/model.json"
    stored = {path.removeprefix("/store/brain-tumor/1/") for path in files.find("/store")}
    assert stored == {path.relative_to(tiny_model).as_posix() for path in tiny_model.rglob("*") if path.is_file()}


def test_missing_and_silent_registries_are_named(tmp_path: Path, registry: str) -> None:
    with pytest.raises(InputError, match="no registry: set MLFLOW_TRACKING_URI"):
        connect("")
    (tmp_path / "junk.db").write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match=r"the registry at sqlite:///.*junk\.db does not answer"):
        connect(f"sqlite:///{tmp_path}/junk.db")


def test_version_on_object_storage_is_never_overwritten(
    tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.setattr(module, "_complete", without_verify)
    files = fsspec.filesystem("memory")
    files.pipe_file("/taken/brain-tumor/1/saved_model.pb", b"a champion that is served")
    with pytest.raises(InputError, match="memory://taken/brain-tumor/1 is there already"):
        register(tiny_model, evaluation, model_store="memory://taken", tracking_uri=registry)
    assert files.cat_file("/taken/brain-tumor/1/saved_model.pb") == b"a champion that is served"
    assert files.find("/taken") == ["/taken/brain-tumor/1/saved_model.pb"]


def test_version_on_object_storage_is_fetched_whole(
    tiny_model: Path, evaluation: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_complete", without_verify)
    registered = register(tiny_model, evaluation, model_store="memory://fetched", tracking_uri=registry)
    with local_copy(registered) as folder:
        assert (folder / "saved_model.pb").read_bytes() == (tiny_model / "saved_model.pb").read_bytes()
        assert json.loads((folder / MODEL_CARD_PATH).read_text())["version"] == registered.version


def test_verify_that_is_killed_is_said(tiny_model: Path, evaluation: Path, registry: str, tmp_path: Path) -> None:
    from subprocess import CompletedProcess
    from unittest.mock import patch

    with (
        patch("subprocess.run", return_value=CompletedProcess([], -9, stdout="", stderr="")),
        pytest.raises(InputError, match=r"^verify ended with -9$"),
    ):
        register(tiny_model, evaluation, model_store=str(tmp_path / "models"), tracking_uri=registry)


def test_mlflow_server_is_given_no_local_path(tmp_path: Path, registry: str) -> None:
    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(
            InputError, match=r"an MLflow server takes no local path: model_store is .*models, wanted s3:// or gs://"
        ):
            open_registry_and_store(str(tmp_path / "models"), address)
        assert open_registry_and_store("memory://models", address).tracking_uri == address
        server.shutdown()
    assert not (tmp_path / "models").exists()
