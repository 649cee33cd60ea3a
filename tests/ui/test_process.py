"""The web page's process: imports, settings, signals, privileges, proxies and memory."""

import ast
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from brain_tumor.images import encode_png
from brain_tumor.settings import describe_settings
from tests.conftest import ROOT
from tests.pipelines.conftest import IGNORING_SIGINT
from tests.serving.conftest import Pair
from tests.serving.processes import Service, free_ports, wait_for
from tests.ui.conftest import Ui, tab, ui, upload
from ui.settings import Settings

FOLDER = ROOT / "ui"
OTHER_PACKAGES = {"components", "pipelines", "serving", "tests"}
NOBODY = 65534
# May read all files of this machine, as Python may be in root's home, and write only to world-writable folders.
AS_NOBODY = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --bounding-set=-all,+dac_read_search".split()
AS_NOBODY += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
NO_FILE = ("prlimit", "--fsize=0")  # every write to a file fails, even to a deleted file
PNG = (FOLDER / "phantoms" / "ring.png").read_bytes()
HEAVY = {"tensorflow", "keras", "kserve", "kfp", "fastapi", "grpc"}


def imported_packages(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_it_imports_of_the_project_only_brain_tumor_and_no_heavy_package() -> None:
    imported = {name for path in FOLDER.glob("*.py") for name in imported_packages(path)}
    assert imported & (OTHER_PACKAGES | {"brain_tumor"}) == {"brain_tumor"}
    modules = ", ".join(
        f"ui.{path.stem}" for path in FOLDER.glob("*.py") if not path.stem.startswith("__") and path.stem != "app"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "brain_tumor.overlay" in loaded
    assert {name.split(".")[0] for name in loaded} & (HEAVY | OTHER_PACKAGES) == set()


def run_page(*arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    command = [sys.executable, "-m", "ui", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)


@pytest.fixture
def occupied_port() -> Iterator[int]:
    with socket.socket() as occupied:
        occupied.bind(("0.0.0.0", 0))
        occupied.listen()
        yield occupied.getsockname()[1]


def test_help_lists_every_variable_with_default_and_meaning() -> None:
    ended = run_page("--help")
    assert ended.returncode == 0
    assert describe_settings(Settings) in ended.stdout
    assert "  COLOUR_MAP (default: inferno)\n      Colours of the overlay" in ended.stdout


def test_invalid_settings_end_it_with_one_line() -> None:
    ended = run_page(PAGE_PORT="x", COLOUR_MAP="jet")
    assert ended.returncode == 1
    expected = "PAGE_PORT: got 'x', expected a valid integer; COLOUR_MAP: got 'jet', expected one of inferno, viridis, cividis"
    assert (ended.stdout + ended.stderr).strip() == f"error: {expected}"


def test_occupied_metrics_port_ends_it_with_one_line(occupied_port: int) -> None:
    ended = run_page(METRICS_PORT=occupied_port)
    assert ended.returncode == 1
    expected = f"error: METRICS_PORT: got {occupied_port}, expected a free port: Address already in use"
    assert (ended.stdout + ended.stderr).strip() == expected


def test_occupied_page_port_ends_it(occupied_port: int) -> None:
    ended = run_page(PAGE_PORT=occupied_port, METRICS_PORT=free_ports(1)[0])
    assert ended.returncode != 0
    assert str(occupied_port) in ended.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_signal_ends_it_although_sigint_is_inherited_as_ignored(number: signal.Signals, tmp_path: Path) -> None:
    """As in a background job of a script."""
    port, metrics_port = free_ports(2)
    environment = os.environ | {"PAGE_PORT": str(port), "METRICS_PORT": str(metrics_port)}
    output = tmp_path / "output.txt"
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [*IGNORING_SIGINT, sys.executable, "-m", "ui"], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            wait_for(f"http://localhost:{port}/_stcore/health", Service(process, output))
            process.send_signal(number)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
    assert "Traceback" not in output.read_text()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv to become nobody")
def test_it_needs_neither_root_nor_a_home_and_writes_no_file(browser: Browser, service: Pair, tmp_path: Path) -> None:
    """As in a pod with a read-only root file system: it cannot write to the tree, and leaves the temporary folder empty."""
    port, metrics_port = free_ports(2)
    ports = {"PAGE_PORT": str(port), "METRICS_PORT": str(metrics_port), "API_URL": service.url}
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    temporary.chmod(0o1777)
    # Without the variables of `make coverage`, which writes a file.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    environment = inherited | ports | {"HOME": "/nonexistent", "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    output = tmp_path / "output.txt"
    output.touch()
    noise = np.random.default_rng(0).integers(0, 256, (800, 800, 3), np.uint8)  # 1.9 MB as a PNG
    with subprocess.Popen(
        [*AS_NOBODY, *NO_FILE, sys.executable, "-m", "ui"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        try:
            url = f"http://localhost:{port}"
            wait_for(f"{url}/_stcore/health", Service(process, output))
            with tab(browser, url) as page:
                upload(page, {"slice.png": encode_png(Image.fromarray(noise))})
                expect(page.locator(".image img")).to_have_count(2)
            assert list(temporary.iterdir()) == []
        finally:
            process.terminate()
        assert b"Traceback" not in process.stdout.read()
    assert process.returncode == 0


@pytest.mark.parametrize(("origin", "status"), [("https://brain.example.org", 101), ("https://elsewhere.example.net", 403)])
def test_websocket_behind_a_reverse_proxy_is_accepted_and_of_another_site_is_not(
    origin: str, status: int, page_process: Ui
) -> None:
    assert open_websocket(page_process, "Host: brain.example.org", f"Origin: {origin}") == status


FOREIGN_ORIGINS = {
    "another site": ("Host: brain.example.org", "Origin: https://elsewhere.example.net"),
    "another port": ("Host: brain.example.org", "Origin: https://brain.example.org:8443"),
    "a name that contains the host": ("Host: brain.example.org", "Origin: https://brain.example.org.elsewhere.example.net"),
    "this machine": ("Host: brain.example.org", "Origin: http://localhost:3000"),
    "a sandboxed frame": ("Host: brain.example.org", "Origin: null"),
    "an empty origin": ("Host: brain.example.org", "Origin:"),
    "an invalid origin": ("Host: brain.example.org", "Origin: http://[brain.example.org"),
    "a proxy that replaces Host": ("Host: page:8501", "Origin: https://brain.example.org"),
    "a proxy that empties Host": ("Host:", "Origin: null"),
}


def test_foreign_websocket_is_rejected_at_once_and_no_other_site_is_asked(service: Pair) -> None:
    """Not even through a proxy that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as blackhole:
        proxy = f"http://127.0.0.1:{blackhole.getsockname()[1]}"
        variables = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"), proxy)
        with ui(service.url, **variables) as started:
            begin = time.monotonic()
            statuses = {name: open_websocket(started, *headers) for name, headers in FOREIGN_ORIGINS.items()}
            assert httpx.get(f"{started.url}/_stcore/health", trust_env=False).text == "ok"
            assert time.monotonic() - begin < 2  # one question would wait a second for each of two answers
            log = started.process.output.read_text()
        assert statuses == dict.fromkeys(FOREIGN_ORIGINS, 403)
        blackhole.setblocking(False)
        with pytest.raises(BlockingIOError):
            blackhole.accept()
    assert log.count("a WebSocket was rejected") == len(FOREIGN_ORIGINS)
    assert "example" not in log


def open_websocket(started: Ui, *headers: str) -> int:
    """Return the status of a handshake with additional headers."""
    head = (
        "GET /_stcore/stream HTTP/1.1",
        *headers,
        "X-Forwarded-Proto: https",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: c2xpY2VzIGFuZCBzbGljZQ==",
    )
    with socket.create_connection(("localhost", int(started.url.rsplit(":", 1)[1])), timeout=30) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        return int(connection.recv(100).split()[1])


def test_images_of_a_closed_session_are_dropped(browser: Browser, service: Pair) -> None:
    with ui(service.url, SESSION_MINUTES=0.01) as started:
        with tab(browser, started.url) as page:
            upload(page, {"slice.png": PNG})
            assert sessions_and_uploads(started) == (1, True)
        deadline = time.monotonic() + 60
        while sessions_and_uploads(started) != (0, False):
            assert time.monotonic() < deadline, "the upload is still in memory"
            time.sleep(0.2)


def sessions_and_uploads(started: Ui) -> tuple[float, bool]:
    """Return the number of sessions that the page counts, and whether Streamlit keeps an upload."""
    metrics = httpx.get(started.metrics_url).text.splitlines()
    (sessions,) = [float(line.split()[1]) for line in metrics if line.startswith("brain_tumor_ui_sessions ")]
    return sessions, "UploadedFileManager" in httpx.get(f"{started.url}/_stcore/metrics").text
