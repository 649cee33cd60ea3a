"""The real web page in its own process, in front of the real service, in a real browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.serving.conftest import Pair
from tests.serving.conftest import service as service
from tests.serving.processes import Service, free_ports, running
from tests.tools import tool
from tests.ui.fake_service import FakeService, serve_fake

TIMEOUT_MS = 60_000  # long enough for a slow machine
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
SLICES, SERIES = (f"[class*=st-key-{uploader}-] input[type=file]" for uploader in ("files", "series"))  # the two uploaders


@dataclass(frozen=True)
class Ui:
    """The page's process and its URLs."""

    process: Service
    url: str
    metrics_url: str


@contextmanager
def ui(api_url: str, *, module: str = "ui", health: str = "/_stcore/health", **settings: object) -> Iterator[Ui]:
    """Start a page that uses the service at `api_url`, and wait until it is healthy."""
    page_port, metrics_port = free_ports(2)
    url = f"http://localhost:{page_port}"
    environment = {"API_URL": api_url, "PAGE_PORT": page_port, "METRICS_PORT": metrics_port} | settings
    with running(module, environment, url + health) as process:
        yield Ui(process, url, f"http://localhost:{metrics_port}/metrics")


@pytest.fixture
def fake_service() -> Iterator[FakeService]:
    with serve_fake() as fake:
        yield fake


@pytest.fixture(scope="session")
def page_process(service: Pair) -> Iterator[Ui]:
    with ui(service.url) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium for one module: while it runs, this thread has an event loop."""
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=tool("chromium"), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Browser, page_process: Ui) -> Iterator[Page]:
    """The page in a tab of desktop width, with the service ready."""
    with tab(browser, page_process.url) as page:
        yield page


@contextmanager
def tab(browser: Browser, url: str, **options: object) -> Iterator[Page]:
    """Open a URL in a new browser context, and wait until the page shows that the service is ready."""
    context = browser.new_context(**({"viewport": DESKTOP, "accept_downloads": True} | options))  # type: ignore[arg-type]
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    page.goto(url)
    expect(page.locator(".state.ready")).to_be_visible()
    yield page
    context.close()


def save_csv(page: Page, path: Path) -> None:
    """Save the table of all slices to a file, once the page has been rendered completely."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    download.value.save_as(path)


def upload(page: Page, files: dict[str, bytes]) -> None:
    """Upload files by name, and wait until the table lists all of them."""
    payloads = [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files.items()]
    page.locator(SLICES).set_input_files(payloads)  # type: ignore[arg-type]
    expect(page.get_by_role("region", name="All slices").locator("tbody tr")).to_have_count(len(files))
