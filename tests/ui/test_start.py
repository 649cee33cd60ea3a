"""How the page starts, what it needs, and what it forgets."""

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
from tests.conftest import ROOT
from tests.serving.conftest import Pair
from tests.serving.processes import Service, free_ports, wait_for
from tests.ui.conftest import Ui, tab, ui, upload

FOLDER = ROOT / "ui"
OF_THE_PROJECT = {"components", "pipelines", "serving", "tests"}
ALLOWED = {"brain_tumor.images", "brain_tumor.overlay"}
NOBODY = 65534
# May read all of this machine, where Python may lie in root's home, and write nowhere but where everybody may.
AS_NOBODY = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --bounding-set=-all,+dac_read_search".split()
AS_NOBODY += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
NO_FILE = ("prlimit", "--fsize=0")  # a write to any file fails, to one that is deleted already, too
PNG = (FOLDER / "phantoms" / "ring.png").read_bytes()
HEAVY = ("tensorflow", "keras", "kserve", "kfp", "fastapi", "grpc")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_page_imports_of_the_project_only_the_rule_for_images_and_the_overlay() -> None:
    found = {name for path in FOLDER.glob("*.py") for name in imports(path)}
    assert {name for name in found if name.split(".")[0] in OF_THE_PROJECT} == ALLOWED
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
    assert [name for name in loaded if name.split(".")[0] in HEAVY or name == "components"] == []


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"API_URL": "localhost:8080"}, "API_URL is 'localhost:8080', wanted an address such as http://localhost:8080"),
        (
            {"API_URL": "http://me:secret@gateway"},
            "API_URL holds a user, a password or a query, wanted only an address: API_TOKEN is for a secret",
        ),
        ({"API_TOKEN": "a b"}, "API_TOKEN holds a blank or a letter outside ASCII, which no header can carry"),
        ({"PAGE_PORT": "x"}, "PAGE_PORT is 'x', wanted a port, 1 to 65535"),
        ({"METRICS_PORT": "70000"}, "METRICS_PORT is '70000', wanted a port, 1 to 65535"),
        ({"COLOUR_MAP": "jet"}, "COLOUR_MAP is 'jet', wanted one of inferno, viridis, cividis"),
        ({"PAGE_PATH": "brain"}, "PAGE_PATH is 'brain', wanted a path such as /brain, or nothing"),
        ({"METRICS_PORT": "taken"}, "METRICS_PORT {port} cannot be bound: Address already in use"),
    ],
)
def test_a_setting_that_cannot_be_used_ends_it_with_one_line(setting: dict[str, str], said: str) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = os.environ | {name: port if value == "taken" else value for name, value in setting.items()}
        ended = subprocess.run(
            [sys.executable, "-m", "ui"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )
    assert ended.returncode == 1
    assert (ended.stdout + ended.stderr).strip() == f"error: {said.format(port=port)}"


def test_a_port_that_is_taken_ends_it() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = os.environ | {"PAGE_PORT": port, "METRICS_PORT": str(free_ports(1)[0])}
        ended = subprocess.run(
            [sys.executable, "-m", "ui"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )
    assert ended.returncode != 0
    assert f"{port}" in ended.stdout


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root, with setpriv, can become nobody")
def test_it_needs_neither_root_nor_a_home_and_writes_nothing(browser: Browser, service: Pair, tmp_path: Path) -> None:
    """As in a pod with a read-only root file system: nobody may write in the tree, and writes nothing into TMPDIR."""
    port, metrics_port = free_ports(2)
    ports = {"PAGE_PORT": str(port), "METRICS_PORT": str(metrics_port), "API_URL": service.url}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    scratch.chmod(0o777)
    environment = os.environ | ports | {"HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(scratch)}
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
            assert list(scratch.iterdir()) == []
        finally:
            process.terminate()
        assert b"Traceback" not in process.stdout.read()
    assert process.returncode in (0, -signal.SIGTERM)


@pytest.mark.parametrize(("origin", "status"), [("https://brain.example.org", 101), ("https://elsewhere.example.net", 403)])
def test_a_reverse_proxy_that_keeps_the_host_is_let_in_and_another_site_is_not(
    origin: str, status: int, page_process: Ui
) -> None:
    head = (
        "GET /_stcore/stream HTTP/1.1",
        "Host: brain.example.org",
        f"Origin: {origin}",
        "X-Forwarded-Proto: https",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: c2xpY2VzIGFuZCBzbGljZQ==",
    )
    with socket.create_connection(("localhost", int(page_process.url.rsplit(":", 1)[1])), timeout=30) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        assert int(connection.recv(100).split()[1]) == status


def test_it_can_lie_below_a_path_of_the_proxy(browser: Browser, service: Pair) -> None:
    with (
        ui(service.url, health="/mri/brain/_stcore/health", PAGE_PATH="/mri/brain") as started,
        tab(browser, f"{started.url}/mri/brain/") as page,
    ):
        upload(page, {"slice.png": PNG})
        expect(page.locator(".image img")).to_have_count(2)


def test_the_images_of_a_closed_page_are_forgotten(browser: Browser, service: Pair) -> None:
    with ui(service.url, module="tests.ui.short_sessions") as started:
        with tab(browser, started.url) as page:
            upload(page, {"slice.png": PNG})
            assert held(started) == (1, True)
        deadline = time.monotonic() + 60
        while held(started) != (0, False):
            assert time.monotonic() < deadline, "the upload is still in memory"
            time.sleep(0.2)


def held(started: Ui) -> tuple[float, bool]:
    """How many sessions the page counts, and whether Streamlit holds an upload."""
    metrics = httpx.get(started.metrics_url).text.splitlines()
    (sessions,) = [float(line.split()[1]) for line in metrics if line.startswith("brain_tumor_ui_sessions ")]
    return sessions, "UploadedFileManager" in httpx.get(f"{started.url}/_stcore/metrics").text
