"""Folders, archives and URIs as sources."""

import contextlib
import functools
import http.server
import socket
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
        def do_GET(self) -> None:
            name = self.path.partition("?")[0].rpartition("/")[2].removesuffix(".zip")
            if name.isdecimal():
                self.send_error(int(name))
            else:
                super().do_GET()

        do_HEAD = do_GET

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


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("401.zip", "HTTP 401 Unauthorized: access denied; check the credentials"),
        ("403.zip", "HTTP 403 Forbidden: access denied; check the credentials, or whether a signed URI has expired"),
        ("404.zip", "HTTP 404 Not Found: there is no such file or folder"),
        ("gone.zip", "HTTP 404 Not Found: there is no such file or folder"),
        ("418.zip", "HTTP 418 I'm a Teapot: the server refused the request"),
        ("500.zip", "HTTP 500 Internal Server Error: the server failed; try again later"),
        ("503.zip", "HTTP 503 Service Unavailable: the server failed; try again later"),
    ],
)
def test_failed_download_names_address_and_cause(server: str, scratch: Path, name: str, cause: str) -> None:
    url = server.replace("http://", "http://user:p@ssword@")
    with pytest.raises(InputError) as caught:
        fetch(f"{url}/sets/{name}?token=secret", scratch)
    assert str(caught.value) == f"source: cannot download {server}/sets/{name}: {cause}"
    assert caught.value.__cause__ is None


def closed_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def test_closed_port_is_named(scratch: Path) -> None:
    url = f"127.0.0.1:{closed_port()}/set.zip"
    with pytest.raises(InputError) as caught:
        fetch(f"http://user:password@{url}", scratch)
    assert str(caught.value) == (
        f"source: cannot download http://{url}: cannot connect to the server: Connection refused; check the address and the port"
    )


def test_failed_download_from_object_storage_names_address_and_cause(
    server: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setattr(s3fs.core.S3FileSystem, "retries", 1)
    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("MAX_ATTEMPTS", "1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    found = {}
    for code, endpoint in ((403, server), (404, server), (500, server), (0, f"http://127.0.0.1:{closed_port()}")):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(InputError, match=rf"^source: cannot download s3://bucket/{code}\.zip: ") as caught:
            fetch(f"s3://bucket/{code}.zip", scratch)
        found[code] = str(caught.value).partition(".zip: ")[2]
    assert [found[code][:8] for code in (403, 404, 500)] == ["HTTP 403", "HTTP 404", "HTTP 500"]
    assert found[0].startswith("cannot connect to the server: Connection refused")


@contextlib.contextmanager
def served_alone(content: bytes) -> Iterator[str]:
    """Yield the URL of a local server that returns `content` at every path."""

    class Same(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Same) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.mark.parametrize("name", ["converted", "unpacked", "download", "phantoms", "archive", "..", "x" * 300 + ".zip"])
def test_name_of_a_downloaded_archive_may_be_any(make_set: MakeSet, tmp_path: Path, outputs: Outputs, name: str) -> None:
    archive = zip_folder(make_set(yes=2, no=2), tmp_path / "set.zip", "")
    with served_alone(archive.read_bytes()) as url:
        assert outputs.run(f"{url}/{name}").kept == 4
    with served_alone(b"no archive") as url, pytest.raises(InputError) as caught:
        outputs.run(f"{url}/{name}")
    assert "/ingest-" not in str(caught.value)


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


@pytest.mark.parametrize("name", ["~", "~unknown-user", "[a]*", "\\n", "-", " a ", "a'b\"c", "$HOME", "`id`;&", "a." + "b" * 253])
def test_source_may_have_any_name(name: str, make_set: MakeSet, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_set(name, yes=1, no=1)
    monkeypatch.chdir(folder.parent)
    assert fetch(name, scratch).name == name
    assert len(find_files(fetch(name, scratch).folder).files) == 2
    archive = zip_folder(folder, folder.parent / f"{name[:251]}.zip", "")
    assert fetch(f"../{archive.parent.name}/{archive.name}", scratch).name == archive.name


def test_control_characters_of_a_folder_that_a_relative_path_does_not_name_are_escaped(
    make_set: MakeSet, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_set("a\nb\x1b", yes=1, no=1))
    assert fetch(".", scratch).name == r"a\nb\x1b"
