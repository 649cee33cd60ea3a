"""A user's way through the series: with a fake service, whose answers are known."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from brain_tumor.dicom import Window, read_dicom
from brain_tumor.images import MAX_PIXELS
from brain_tumor.model_card import NOTICE
from brain_tumor.overlay import render_overlay
from tests.brain_tumor.dicoms import PHI, PRIVATE_PHI, dicom, with_private_phi
from tests.ui.conftest import DESKTOP, SERIES, Ui, tab, ui
from tests.ui.fake_service import PREDICTION, FakeService, series_answer, serve_fake
from tests.ui.phantom_series import phantom_series
from tests.ui.test_accessibility import findings, tab_to
from tests.ui.test_viewer import shown
from ui.batch import MAX_FILE_BYTES
from ui.errors import MESSAGES
from ui.window import view_image

PROBABILITIES = (0.02, 0.1, 0.45, 0.7, 0.98, 0.3)
COUNT = len(PROBABILITIES)
DATES: dict[str, Any] = {"StudyDate": "20190807", "AcquisitionDateTime": "20190807113355"}
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
FILES = {
    f"IM{number}.dcm": with_private_phi(dicom(RAMP // (number + 1), WindowCenter=900, WindowWidth=1800, **PHI, **DATES))
    for number in range(COUNT)
}
SECRETS = {*PHI.values(), *DATES.values(), PRIVATE_PHI, "2019-08-07", "Zyxmann", "Quirina"}
HEATMAP = np.array([[0, 1], [0, 0.25]], np.float32)
SMALLEST = {"width": 320, "height": 800}


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[Ui, FakeService]]:
    with serve_fake() as fake, ui(fake.url, SESSION_MINUTES=0.05) as page:
        yield page, fake


@pytest.fixture
def fake(started: tuple[Ui, FakeService]) -> FakeService:
    """The service, which reads every series with `PROBABILITIES`."""
    service = started[1]
    service.responses = {
        "/model": (200, json.dumps({"version": "7", "classes": ["no_tumor", "tumor"]}).encode()),
        "/series": (200, json.dumps(series_answer(PROBABILITIES)).encode()),
        "/predict": (200, json.dumps(PREDICTION | {"explanation": "evidence"}).encode()),
    }
    service.requests.clear()
    return service


@pytest.fixture
def opened(browser: Browser, started: tuple[Ui, FakeService], fake: FakeService) -> Iterator[Page]:
    with tab(browser, f"{started[0].url}/?view=Read+a+series") as page:
        yield page


def analyse(page: Page, files: Mapping[str, bytes]) -> None:
    """Choose the files of a series, and let the service read them."""
    payloads = [{"name": name, "mimeType": "", "buffer": data} for name, data in files.items()]
    page.locator(SERIES).set_input_files(payloads)  # type: ignore[arg-type]
    expect(page.get_by_role("button", name="Analyse")).to_be_enabled()
    tab_to(page, "Analyse")
    page.keyboard.press("Enter")


def requests_to(fake: FakeService, path: str) -> int:
    return sum(each.startswith(path) for each, *_ in fake.requests)


def expect_slice(page: Page, number: int, heatmap: np.ndarray) -> None:
    """Expect a slice of the series, from 1, as its file displays it, next to its overlay."""
    expect(page.get_by_role("heading", name=f"Slice {number} of {COUNT}, at {2.5 * (number - 1):.1f} mm")).to_be_visible()
    pixels = view_image(FILES[f"IM{COUNT - number}.dcm"], None, None).pixels
    overlay = render_overlay(pixels, heatmap)
    expect(page.locator(".image img")).to_have_count(2)
    assert_shown(page, 0, pixels)
    assert_shown(page, 1, overlay)


def assert_shown(page: Page, index: int, pixels: np.ndarray) -> None:
    """Wait until an image, or the overlay next to it, has the pixels, uint8 [h, w, 3]."""
    for _ in range(100):
        if np.array_equal(shown(page, index), pixels):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"image {index} is another one")


def zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_series_is_read_and_gone_through_by_keyboard_alone(opened: Page, fake: FakeService) -> None:
    analyse(opened, FILES)
    summary = opened.get_by_role("region", name="Summary of the series")
    for text in (
        "2 of 6 slices reach the threshold 0.5",
        "The longest run of neighbouring slices that do is 2: slices 4 to 5.",
        "The highest probability of a tumour is 0.980, in slice 5, at 10.0 mm.",
        "Uncertain, 1 of 6 slices.",
        "is no finding about a patient",
        NOTICE,
    ):
        expect(summary).to_contain_text(text)
    expect_slice(opened, 5, HEATMAP)
    assert requests_to(fake, "/predict") == 0
    line = re.compile(r"Probability of a tumour along the series\. 2 of 6 slices reach the threshold 0\.5\.")
    expect(opened.get_by_test_id("stVegaLiteChart")).to_have_attribute("aria-label", line)

    slider = opened.get_by_role("slider", name="Slice")
    slider.focus()
    for key, number, heatmap, explained in (
        ("ArrowLeft", 4, HEATMAP, 0),
        ("Home", 1, np.array([[0, 1]], np.float32), 1),
        ("End", 6, np.array([[0, 1]], np.float32), 2),
        ("Home", 1, np.array([[0, 1]], np.float32), 2),
    ):
        opened.keyboard.press(key)
        expect_slice(opened, number, heatmap)
        assert requests_to(fake, "/predict") == explained
    opened.get_by_role("button", name="Slice 4: 0.700").click()
    expect_slice(opened, 4, HEATMAP)
    assert requests_to(fake, "/series") == 1


@pytest.mark.long
def test_click_into_the_line_chooses_a_slice(opened: Page) -> None:
    analyse(opened, FILES)
    expect_slice(opened, 5, HEATMAP)
    point = opened.get_by_test_id("stVegaLiteChart").locator('path[aria-label^="slice: 2;"]')
    point.click(force=True)  # what takes the click is an invisible area around the point
    expect_slice(opened, 2, np.array([[0, 1]], np.float32))


def test_window_changes_the_view_alone(opened: Page, fake: FakeService) -> None:
    analyse(opened, FILES)
    expect_slice(opened, 5, HEATMAP)
    expect(opened.get_by_text("change the view only, not what the model sees")).to_be_visible()
    reset = opened.get_by_role("button", name="Reset the window")
    expect(reset).to_be_disabled()
    data = FILES[f"IM{COUNT - 5}.dcm"]
    image = opened.locator(".image img").first
    before = image.get_attribute("src")
    opened.get_by_role("slider", name="Window width").press("Home")
    expect(image).not_to_have_attribute("src", str(before))
    expect(opened.get_by_text("Slice, with window level 900, width 1: the view only")).to_be_visible()
    displayed = read_dicom(data, MAX_PIXELS, window=Window(900, 1)).pixels
    assert set(np.unique(displayed)) == {0, 255}
    np.testing.assert_array_equal(shown(opened, 0), view_image(data, None, Window(900, 1)).pixels)
    reset.click()
    expect_slice(opened, 5, HEATMAP)
    assert (requests_to(fake, "/series"), requests_to(fake, "/predict")) == (1, 0)


def test_page_csv_and_report_show_nothing_that_identifies(
    opened: Page, browser: Browser, started: tuple[Ui, FakeService], tmp_path: Path
) -> None:
    analyse(opened, FILES)
    expect_slice(opened, 5, HEATMAP)
    opened.get_by_text("The numbers of all slices").click()
    expect(opened.get_by_role("region", name="Slices of the series").locator("tbody tr")).to_have_count(COUNT)
    saved = {}
    for button, name in (("Save series as CSV", "series.csv"), ("Save report of the series", "series-report.html")):
        with opened.expect_download() as download:
            opened.get_by_role("button", name=button).click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
        saved[name] = (tmp_path / name).read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(saved["series.csv"], newline="")))
    assert [float(row["probability"]) for row in rows] == list(PROBABILITIES)
    assert [row["slice"] for row in rows] == [str(number + 1) for number in range(COUNT)]
    assert [row["position_mm"] for row in rows] == [str(2.5 * number) for number in range(COUNT)]
    assert [row["file"] for row in rows] == list(reversed(FILES))
    assert rows[2]["warnings"] == "the model was trained on synthetic phantoms; the model cannot tell the classes apart"
    page = started[0]
    written = page.process.output.read_text() + httpx.get(page.metrics_url).text
    assert [name for name in FILES if name in written] == []
    for text in (opened.content(), opened.locator("body").inner_text(), *saved.values(), written):
        assert [secret for secret in SECRETS if secret in text] == []

    report = browser.new_page()
    report.goto((tmp_path / "series-report.html").as_uri())
    expect(report.locator(".image img")).to_have_count(2 * 3)
    expect(report.locator("main")).to_contain_text("2 of 6 slices reach the threshold 0.5")
    expect(report.locator("main")).to_contain_text(NOTICE)
    assert len(str(report.locator("svg polyline").get_attribute("points")).split()) == COUNT
    report.close()


def test_file_of_an_error_is_named_to_its_user_and_not_to_the_service(opened: Page, fake: FakeService) -> None:
    packed = zipped({"Mueller/": b""} | {f"Mueller/{name}": data for name, data in FILES.items()})
    fake.responses["/series"] = (400, b'{"error": "file[1]: the DICOM file is corrupt", "code": "corrupt"}')
    analyse(opened, {"Mueller_Anna.zip": packed})
    expect(opened.get_by_role("alert")).to_have_text(f"IM1.dcm: {MESSAGES['corrupt']}")
    fake.responses["/series"] = (200, json.dumps(series_answer(PROBABILITIES)).encode())
    opened.get_by_role("button", name="Analyse").click()
    expect_slice(opened, 5, HEATMAP)
    (body,) = {body.partition(b"\r\n\r\n")[0].split(b";", 1)[1] for path, _, body in fake.requests if path == "/series"}
    assert body == b' name="file"; filename="slice"'

    requests = requests_to(fake, "/series")
    analyse(opened, {"zip.zip": packed, "large.dcm": bytes(MAX_FILE_BYTES + 1)})
    expect(opened.get_by_role("alert")).to_contain_text(MESSAGES["series_mixed"])
    assert requests_to(fake, "/series") == requests


@pytest.mark.long
def test_real_service_numbers_the_files_of_a_zip_as_the_page_does(browser: Browser, page_process: Ui) -> None:
    slices = phantom_series(8, first=2, last=5, size_px=96)
    members = {"DICOMDIR": b"no slice", "__MACOSX/._7": b"no slice"}
    members |= {f"series/{number}": slices[number] for number in (7, 2, 0, 5, 1, 6, 3, 4)}
    with tab(browser, f"{page_process.url}/?view=Read+a+series") as page:
        analyse(page, {"series.zip": zipped(members)})
        page.get_by_role("slider", name="Slice").press("Home")
        for number, data in enumerate(slices, 1):
            expect(page.get_by_role("heading", name=f"Slice {number} of 8, at {3 * number - 63:.1f} mm")).to_be_visible()
            expect(page.locator(".image img")).to_have_count(2)
            assert_shown(page, 0, view_image(data, None, None).pixels)
            page.get_by_role("slider", name="Slice").press("ArrowRight")
        expect(page.get_by_role("alert")).to_have_count(0)
    with tab(browser, f"{page_process.url}/?view=Read+a+series") as page:
        analyse(page, {"series.zip": zipped(members | {"series/5": slices[5][:2000]})})
        expect(page.get_by_role("alert")).to_have_text(f"5: {MESSAGES['corrupt']}")


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", SMALLEST)], ids=["light", "dark"])
def test_axe_finds_no_severe_violation_and_nothing_is_cut(
    browser: Browser, started: tuple[Ui, FakeService], fake: FakeService, scheme: str, viewport: dict[str, int]
) -> None:
    with tab(browser, f"{started[0].url}/?view=Read+a+series", color_scheme=scheme, viewport=viewport) as page:
        expect(page.get_by_role("heading", name="Choose a series")).to_be_visible()
        assert findings(page) == []
        analyse(page, FILES)
        expect_slice(page, 5, HEATMAP)
        expect(page.get_by_test_id("stVegaLiteChart").locator("svg")).to_be_visible()
        assert findings(page) == []
        widths = page.evaluate("[document.documentElement.scrollWidth, document.querySelector('.stMain').scrollWidth]")
        assert widths == [viewport["width"]] * 2
