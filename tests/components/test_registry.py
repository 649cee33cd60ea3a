import http.server
import threading
from pathlib import Path

import pytest

from brain_tumor.errors import InputError
from components.registry import RegisteredVersion, connect, local_copy, open_registry_and_store


def test_missing_or_unreadable_registry_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match="no registry: set MLFLOW_TRACKING_URI"):
        connect("")
    (tmp_path / "junk.db").write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match=r"the registry at sqlite:///.*junk\.db cannot be opened"):
        connect(f"sqlite:///{tmp_path}/junk.db")


def test_mlflow_server_accepts_no_local_path(tmp_path: Path) -> None:
    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(InputError, match=r"model_store: got .*models, expected s3:// or gs://; an MLflow server accepts no"):
            open_registry_and_store(str(tmp_path / "models"), url)
        assert open_registry_and_store("memory://models", url).tracking_uri == url
        server.shutdown()
    assert not (tmp_path / "models").exists()


def test_local_copy_of_a_version_on_object_storage_has_every_file(tiny_model: Path) -> None:
    import fsspec

    fsspec.filesystem("memory").put(f"{tiny_model}/", "/fetched/brain-tumor/1", recursive=True)
    with local_copy(RegisteredVersion("brain-tumor", 1, "memory://fetched/brain-tumor/1")) as folder:
        assert contents(folder) == contents(tiny_model)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
