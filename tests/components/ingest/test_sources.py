"""Folders, archives and URIs as sources."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from brain_tumor.errors import InputError
from components.ingest import sources
from components.ingest.class_folders import find_files
from components.ingest.sources import fetch
from tests.components.ingest.conftest import MakeSet, Outputs, zip_folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URL of a local server for tmp_path/served."""
    (tmp_path / "served").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "served"))
    ) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_folder_is_read_in_place_and_named_without_its_parents(make_set: MakeSet, scratch: Path) -> None:
    folder = make_set(yes=1, no=1)
    source = fetch(f"{folder}/", scratch)
    assert (source.folder, source.name, source.synthetic) == (folder, "scans", False)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "source: got an empty value"),
        ("/nowhere/at/all", "no such folder or archive: /nowhere/at/all"),
        ("ftp://host/set.zip", r"source: got ftp://, expected a folder, .*s3://.*kaggle://, synthetic://"),
        ("synthetic://?n=many", "got synthetic://\\?n=many, expected synthetic://"),
        ("synthetic://?n=-4", "integers"),
        ("synthetic://?n=", "integers"),
        ("synthetic://?count=400", "got synthetic://"),
        ("synthetic://400", "got synthetic://"),
        ("synthetic://?n=9", "got n=9, expected 10 to 100,000 phantoms"),
        ("synthetic://?n=1000000000", "got n=1000000000"),
        ("synthetic://?n=" + "9" * 5000, "cannot read synthetic://"),
        ("~nosuchuser/scans", "cannot read ~nosuchuser/scans: RuntimeError"),
        ("x" * 5000, "cannot read x+: OSError"),
        ("https://[host/set.zip", "cannot read https://"),
        ("kaggle://only-a-name", "expected kaggle://owner/name"),
        ("kaggle://owner/../../etc", "expected kaggle://owner/name"),
    ],
)
def test_unusable_source_is_rejected_with_its_reason(source: str, message: str, outputs: Outputs) -> None:
    with pytest.raises(InputError, match=message):
        outputs.run(source)
    assert outputs.are_absent()


def test_file_that_is_no_archive_is_rejected(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "scan.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"got scan\.png, expected a folder, or a zip or tar archive"):
        fetch(str(tmp_path / "scan.png"), scratch)


def test_archive_is_detected_by_content(make_set: MakeSet, tmp_path: Path, scratch: Path) -> None:
    archive = zip_folder(make_set(yes=1, no=1), tmp_path / "download", "top/")
    assert [found.path for found in find_files(fetch(str(archive), scratch).folder).files] == ["no/0.png", "yes/0.png"]


def test_synthetic_uses_the_defaults_and_names_them_in_full(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PHANTOM_DEFAULTS", {"n": 12, "seed": 0})
    source = fetch("synthetic://", scratch)
    assert (source.name, source.synthetic) == ("synthetic://?n=12&seed=0", True)
    files = find_files(source.folder).files
    assert len(files) == 12
    assert [file.mask for file in files if file.label == "tumor"] == sorted((source.folder / "masks").iterdir())


def test_name_of_a_downloaded_archive_contains_no_signature(
    server: str, make_set: MakeSet, tmp_path: Path, scratch: Path
) -> None:
    zip_folder(make_set(yes=1, no=1), tmp_path / "served" / "set.zip", "")
    source = fetch(f"{server}/set.zip?X-Amz-Signature=secret", scratch)
    assert source.name == "http://127.0.0.1/set.zip"
    assert len(find_files(source.folder).files) == 2


def test_failed_download_names_the_cause_without_credentials(server: str, scratch: Path) -> None:
    url = server.replace("http://", "http://user:password@")
    with pytest.raises(InputError, match=r"cannot download http://127\.0\.0\.1/gone\.zip: FileNotFoundError") as caught:
        fetch(f"{url}/gone.zip?token=secret", scratch)
    assert "secret" not in str(caught.value)
    assert "password" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_download_that_is_no_archive_is_rejected(server: str, tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "served" / "page.zip").write_text("<html>sign in</html>")
    with pytest.raises(InputError, match=r"got page\.zip, expected a folder, or a zip or tar archive"):
        fetch(f"{server}/page.zip", scratch)


def test_prefix_is_downloaded_as_a_folder(make_set: MakeSet, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec's in-memory store replaces S3: the calls are the same."""
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(make_set(yes=2, no=1)) + "/", "/bucket/scans/", recursive=True)
    monkeypatch.setitem(sources.SCHEMES, "memory", sources.SCHEMES["s3"])
    source = fetch("memory://bucket/scans/", scratch)
    assert [found.path for found in find_files(source.folder).files] == ["no/0.png", "yes/0.png", "yes/1.png"]
    monkeypatch.setattr(sources, "MAX_MEMBERS", 2)
    with pytest.raises(InputError, match="got more data, expected at most 2 files"):
        fetch("memory://bucket/scans/", scratch)


def test_kaggle_error_is_one_line_without_credentials(monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    import kagglehub

    def fail(_handle: str) -> str:
        raise OSError("403 Client Error.\n for url: https://me:key@www.kaggle.com/api?token=secret now")

    monkeypatch.setattr(kagglehub, "dataset_download", fail)
    with pytest.raises(InputError) as caught:
        fetch("kaggle://owner/name", scratch)
    assert str(caught.value) == (
        "source: cannot download kaggle://owner/name: OSError: 403 Client Error. for url: https://www.kaggle.com/api now"
    )
