"""The web page behind a real nginx that limits, strips and cuts, and in front of a browser that reloads."""

import csv
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from brain_tumor.model_card import NOTICE
from brain_tumor.phantoms import phantom_pngs
from tests.serving.conftest import Pair
from tests.serving.processes import free_ports, running
from tests.ui.conftest import PHONE, SLICES, TIMEOUT_MS, Ui, save_csv, tab, ui, upload
from tests.ui.proxy import KEEP_HOST, PASS_WEBSOCKETS, Proxy, proxy
from tests.ui.test_accessibility import findings
from tests.ui.test_page import scrape
from ui.batch import MAX_FILE_BYTES
from ui.errors import MESSAGES

PNG = phantom_pngs(1)[0]
TOO_LARGE = PNG + bytes(MAX_FILE_BYTES + 1 - len(PNG))
FOREIGN_WORDS = ("Streamlit", "Axios", "status code", "<html>")


@pytest.fixture
def front(page_process: Ui, tmp_path: Path) -> Iterator[Proxy]:
    with proxy(page_process.url, tmp_path) as given:
        yield given


def choose(page: Page, files: dict[str, bytes]) -> None:
    payloads = [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files.items()]
    page.locator(SLICES).set_input_files(payloads)  # type: ignore[arg-type]


def rows(page: Page) -> dict[str, str]:
    """Return the remark of each row in the table of all slices by file name."""
    found = page.get_by_role("region", name="All slices").locator("tbody tr").all()
    return {row.locator("th").inner_text(): row.locator("td").last.inner_text() for row in found}


def expect_rows(page: Page, count: int) -> dict[str, str]:
    expect(page.get_by_role("region", name="All slices").locator("tbody tr")).to_have_count(count)
    return rows(page)


@pytest.mark.long
def test_every_chosen_file_has_a_row_with_the_reason_in_the_pages_words(browser: Browser, service: Pair, tmp_path: Path) -> None:
    files = {"good.png": PNG, "large.png": TOO_LARGE, "for the proxy.png": PNG + bytes(2_000_000), "large.tif": TOO_LARGE}
    with ui(service.url) as started, proxy(started.url, tmp_path) as front:
        front.start(f"{KEEP_HOST} {PASS_WEBSOCKETS} client_max_body_size 1m;")
        with tab(browser, front.url) as page:
            choose(page, files)
            remarks = expect_rows(page, len(files))
            reasons = {"large.png": "too_large", "large.tif": "too_large", "for the proxy.png": "upload_too_large"}
            assert {name: remarks[name] for name in reasons} == {name: MESSAGES[code] for name, code in reasons.items()}
            expect(page.get_by_role("radiogroup", name="4 slices").get_by_text("failed")).to_have_count(3)
            save_csv(page, tmp_path / "slices.csv")
            with (tmp_path / "slices.csv").open(newline="", encoding="utf-8-sig") as file:
                assert {row["file"]: row["error"] for row in csv.DictReader(file)} == {"good.png": ""} | {
                    name: MESSAGES[code] for name, code in reasons.items()
                }
            samples = scrape(started)
            for outcome, count in {"answered": 1, "refused": 2, "failed": 1}.items():
                assert samples[f'brain_tumor_ui_uploads_total{{outcome="{outcome}"}}'] == count
            page.get_by_test_id("stFileChip").filter(has_text="for the").hover()
            page.wait_for_timeout(600)  # after which a tooltip would be shown
            assert not [word for word in FOREIGN_WORDS if word in page.locator("body").inner_text()]
            assert findings(page) == []
            page.get_by_role("button", name="Remove large.tif").click()
            assert expect_rows(page, 3).keys() == files.keys() - {"large.tif"}


ANSWERS = {
    "return 408 '<html>slow</html>'": "upload_too_slow",
    "return 504 '<html>slow</html>'": "upload_too_slow",
    "return 403 '<html>no</html>'": "upload_forbidden",
    "return 502 '<html>bad gateway</html>'": "upload_failed",
    "return 444": "upload_failed",  # nginx closes the connection
}


@pytest.mark.long
def test_other_answers_of_a_proxy_to_an_upload_have_their_words_too(browser: Browser, front: Proxy) -> None:
    front.start()
    with tab(browser, front.url) as page:
        for count, (answer, code) in enumerate(ANSWERS.items(), 1):
            front.stop()
            front.start(more=f"location /_stcore/upload_file/ {{ {answer}; }}")
            page.wait_for_timeout(1000)
            expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-connection-state", "CONNECTED")
            choose(page, {f"{count}.png": PNG})
            assert expect_rows(page, count)[f"{count}.png"] == MESSAGES[code]
        front.stop()
        front.start(more="location /_stcore/upload_file/ { return 200 '<html>log in</html>'; }")
        page.wait_for_timeout(1000)
        expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-connection-state", "CONNECTED")
        choose(page, {"log in.png": PNG})
        assert MESSAGES["upload_failed"] in expect_rows(page, len(ANSWERS) + 1)["unknown file"]


def test_slices_outlive_a_cut_connection(browser: Browser, front: Proxy) -> None:
    front.start()
    with tab(browser, front.url, viewport=PHONE) as page:
        upload(page, {"first.png": PNG, "second.png": PNG})
        before = rows(page)
        front.stop()
        expect(page.get_by_text("The connection to the server is lost.")).to_be_visible()
        assert page.get_by_role("dialog").count() == 0
        assert not [word for word in FOREIGN_WORDS if word in page.locator("body").inner_text()]
        assert NOTICE in page.locator("body").inner_text()
        front.start()
        expect(page.locator("#connection")).to_be_hidden()
        choose(page, {"third.png": PNG})
        assert expect_rows(page, 3).items() >= before.items()


@pytest.mark.long
def test_an_expired_session_names_what_it_lost(browser: Browser, service: Pair, tmp_path: Path) -> None:
    with ui(service.url, SESSION_MINUTES=0.02) as started, proxy(started.url, tmp_path) as front:
        front.start()
        with tab(browser, front.url) as page:
            upload(page, {"first.png": PNG, "second.png": PNG})
            front.stop()
            page.wait_for_timeout(8000)
            front.start()
            lost_and_chosen_again(page, {"first.png", "second.png"}, "first.png")


@pytest.mark.long
def test_a_page_restarted_amid_a_batch_names_what_it_lost(browser: Browser, service: Pair) -> None:
    port, metrics_port = free_ports(2)
    url = f"http://localhost:{port}"
    settings = {"API_URL": service.url, "PAGE_PORT": port, "METRICS_PORT": metrics_port}
    files = {f"{index}.png": PNG for index in range(30)} | {"large.png": TOO_LARGE}
    with ExitStack() as stack:
        with running("ui", settings, f"{url}/_stcore/health"):
            page = stack.enter_context(tab(browser, url))
            choose(page, files)
            expect(page.get_by_text("Analysing slice")).to_be_visible()
        for _ in range(2):  # nor does a second restart hide it
            with running("ui", settings, f"{url}/_stcore/health"):
                expect(page.locator(".slices tbody tr").filter(has_text=MESSAGES["forgotten"])).to_have_count(len(files))
                page.wait_for_timeout(1000)
        with running("ui", settings, f"{url}/_stcore/health"):
            lost_and_chosen_again(page, set(files), "3.png")


def lost_and_chosen_again(page: Page, names: set[str], again: str) -> None:
    expect(page.locator(".slices tbody tr").filter(has_text=MESSAGES["forgotten"])).to_have_count(len(names))
    assert rows(page).keys() == names
    expect(page.get_by_test_id("stFileChip")).to_have_count(0)
    choose(page, {again: PNG})
    counted = page.get_by_text(f"{len(names) - 1} failed")
    try:
        expect(counted).to_be_visible(timeout=20_000)
    except AssertionError:  # Streamlit forgets a file that is chosen in the moment of a rerun
        choose(page, {again: PNG})
        expect(counted).to_be_visible()
    assert rows(page).keys() == names
    page.get_by_role("button", name="Remove the lost files").click()
    assert expect_rows(page, 1).keys() == {again}


def test_a_reload_that_would_lose_results_asks_first(browser: Browser, page_process: Ui) -> None:
    with tab(browser, page_process.url) as page:
        asked: list[str] = []

        def stay(dialog: Dialog) -> None:
            asked.append(dialog.type)
            dialog.dismiss()

        page.on("dialog", stay)
        page.get_by_role("heading", level=1).click()
        page.reload()
        expect(page.locator(".state.ready")).to_be_visible()
        assert asked == []
        upload(page, {"slice.png": PNG})
        page.get_by_role("heading", level=1).click()
        page.evaluate("setTimeout(() => location.reload())")
        page.wait_for_timeout(1000)
        assert asked == ["beforeunload"]
        assert rows(page).keys() == {"slice.png"}


@pytest.mark.parametrize(
    ("directives", "more"),
    [
        pytest.param(KEEP_HOST, "", marks=pytest.mark.long),  # strips Upgrade
        pytest.param(PASS_WEBSOCKETS, "", marks=pytest.mark.long),  # loses Host
        (f"{KEEP_HOST} {PASS_WEBSOCKETS}", "location /_stcore/health { return 502 '<html>bad gateway</html>'; }"),
    ],
    ids=["upgrade", "host", "health"],
)
def test_page_that_cannot_connect_says_so(browser: Browser, front: Proxy, directives: str, more: str) -> None:
    front.start(directives, more)
    page = browser.new_page()
    page.goto(front.url)
    expect(page.get_by_role("alert")).to_contain_text("This page cannot connect to its server.", timeout=TIMEOUT_MS)
    assert page.get_by_role("dialog").count() == 0
    assert not [word for word in FOREIGN_WORDS if word in page.title() + page.locator("body").inner_text()]
    assert findings(page) == []
    front.stop()
    front.start()
    expect(page.locator(".state.ready")).to_be_visible()
    expect(page.locator("#connection")).to_be_hidden()
    page.close()


@pytest.mark.long
def test_page_works_below_a_path_that_the_proxy_passes(browser: Browser, service: Pair, tmp_path: Path) -> None:
    path = "/mri/brain"
    with ui(service.url, health=f"{path}/_stcore/health", PAGE_PATH=path) as started, proxy(started.url, tmp_path) as front:
        front.start()
        for url in (f"{front.url}{path}/", f"{front.url}{path}"):
            with tab(browser, url) as page:
                upload(page, {"slice.png": PNG})
                expect(page.locator(".image img")).to_have_count(2)
                front.stop()
                expect(page.get_by_text("The connection to the server is lost.")).to_be_visible()
                front.start()
