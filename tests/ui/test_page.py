"""A user's way through the web page."""

import csv
import io
import re
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from brain_tumor.model_card import NOTICE
from brain_tumor.phantoms import phantom_pngs
from tests.brain_tumor.test_images import encode
from tests.serving import clients
from tests.serving.conftest import Pair
from tests.serving.processes import free_ports, running
from tests.ui.conftest import PHONE, SLICES, Ui, save_csv, tab, ui, upload
from ui.formatting import class_display_name

PNG = phantom_pngs(1)[0]
PATIENT = "=Mueller_Anna_1950"


def explain(service: Pair, data: bytes) -> dict:
    return dict(httpx.post(f"{service.url}/predict?explain=true", files=clients.form(data)).raise_for_status().json())


def test_slice_is_shown_with_its_prediction(opened: Page, service: Pair) -> None:
    prediction = explain(service, PNG)
    upload(opened, {"slice.png": PNG})
    shown = opened.get_by_role("region", name="Prediction")
    expect(shown.locator(".label b")).to_have_text(class_display_name(prediction["label"]))
    expect(shown).to_contain_text(NOTICE)
    assert any("phantoms" in warning for warning in prediction["warnings"])
    for warning in prediction["warnings"]:
        expect(shown).to_contain_text(warning[1:])
    side = "at or above" if prediction["label"] == "tumor" else "below"
    bar = shown.get_by_role("img", name=re.compile(f"^Probability of a tumour .* of 1, {side} the threshold 0.5$"))
    width = bar.locator("div").evaluate("bar => bar.style.width")
    assert float(width.rstrip("%")) == pytest.approx(prediction["probability"] * 100, abs=0.01)
    assert bar.locator("i").evaluate("mark => mark.style.left") == "50%"


def test_csv_of_a_batch_with_a_corrupt_file_has_the_services_numbers(opened: Page, service: Pair, tmp_path: Path) -> None:
    files = {f"{PATIENT}_{index}.png": data for index, data in enumerate(phantom_pngs(19))}
    files["broken.png"] = PNG[: len(PNG) // 2]
    upload(opened, files)
    choices = opened.get_by_role("radiogroup", name="20 slices").get_by_role("radio")
    expect(choices).to_have_count(20)
    choices.first.press("ArrowUp")  # wraps to the last
    expect(opened.get_by_role("alert")).to_contain_text("This image is damaged or truncated. Export the slice again")
    expect(opened.get_by_role("button", name="Try again")).to_have_count(0)

    save_csv(opened, tmp_path / "slices.csv")
    assert (tmp_path / "slices.csv").read_bytes().startswith(b"\xef\xbb\xbffile,label,")
    with (tmp_path / "slices.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    by_name = {row["file"].removeprefix("'"): row for row in rows}
    assert by_name.keys() == files.keys()
    for name, data in files.items():
        row = by_name[name]
        if name == "broken.png":
            assert row["label"] == row["probability"] == ""
            assert row["error"].startswith("This image is damaged")
            continue
        prediction = explain(service, data)
        assert row["file"] == f"'{name}"
        assert (row["label"], row["threshold"], row["model_version"]) == (
            prediction["label"],
            "0.5",
            prediction["model"]["version"],
        )
        assert row["warnings"] == "; ".join(prediction["warnings"])
        assert float(row["probability"]) == pytest.approx(prediction["probability"], abs=1e-6)
        assert float(row["confidence"]) == pytest.approx(prediction["confidence"], abs=1e-6)


def test_files_of_one_name_are_numbered(opened: Page, tmp_path: Path) -> None:
    images = phantom_pngs(2)
    payloads = [{"name": "scan.png", "mimeType": "image/png", "buffer": data} for data in images]
    opened.locator(SLICES).set_input_files(payloads)  # type: ignore[arg-type]
    rows = opened.get_by_role("region", name="All slices").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("scan (2).png")
    opened.get_by_role("radiogroup", name="2 slices").get_by_role("radio").first.press("ArrowDown")
    expect(opened.get_by_role("heading", name="scan (2).png")).to_be_visible()
    save_csv(opened, tmp_path / "slices.csv")
    with (tmp_path / "slices.csv").open(newline="", encoding="utf-8-sig") as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["scan.png", "scan (2).png"]


NAMES = (
    "&lt;b&gt; &amp;amp;.png",
    "a -> b <- c -- d.png",
    ":streamlit: :red[x] :smile: $x^2$.png",
    "www.example.com me@example.com.png",
    "**a** _b_ ~~c~~ `d` ``e`` \\.png",
    "say \"hi\" 'there'.png",
    "1. # - > [x](y) <i>.png",
    f"{'long_' * 48}.png",
)


def test_names_are_shown_as_they_are(opened: Page, tmp_path: Path) -> None:
    upload(opened, dict.fromkeys(NAMES, PNG))
    labels = opened.get_by_role("radiogroup", name=f"{len(NAMES)} slices").locator("code")
    expect(labels).to_have_text(list(NAMES))
    assert opened.locator(".slices tbody th").all_inner_texts() == list(NAMES)
    save_csv(opened, tmp_path / "slices.csv")
    with (tmp_path / "slices.csv").open(newline="", encoding="utf-8-sig") as file:
        assert [row["file"].removeprefix("'") for row in csv.DictReader(file)] == list(NAMES)


def test_printed_on_a4_nothing_is_cut(opened: Page) -> None:
    """The printed area of A4 between margins of 12 mm is 186 mm wide, which are 703 px."""
    upload(opened, {f"{PATIENT}_with_a_very_long_name_that_no_line_holds_{index}.png": PNG for index in range(30)})
    opened.set_viewport_size({"width": 703, "height": 1000})
    opened.emulate_media(media="print")
    expect(opened.locator(".slices")).to_be_visible()
    cut = """[...document.querySelectorAll(".stApp h1, .stApp h2, .stApp p, .stApp th, .stApp td, .stApp img")]
        .filter(each => each.checkVisibility() && each.getBoundingClientRect().right > 703.5).map(each => each.outerHTML)"""
    assert opened.evaluate(cut) == []
    assert opened.locator(".slices").evaluate("table => table.scrollWidth - table.clientWidth") <= 1
    expect(opened.locator(".stFileUploader:visible")).to_have_count(0)
    expect(opened.get_by_text(NOTICE)).to_have_count(3)
    pages = re.findall(rb"/Type\s*/Page\b", opened.pdf(format="A4", prefer_css_page_size=True))
    assert len(pages) >= 3  # of 31 slices in a window of one page


def test_user_chooses_one_of_several_images(opened: Page, service: Pair, tmp_path: Path) -> None:
    with Image.open(io.BytesIO(PNG)) as first:
        stack = encode(first, "TIFF", save_all=True, append_images=[Image.open(io.BytesIO(each)) for each in phantom_pngs(3)[1:]])
    upload(opened, {"stack.tif": stack})
    expect(opened.get_by_role("alert")).to_contain_text("This file holds several images. Choose one of them.")
    for frame in (2, 3):
        choice = opened.get_by_label("Image in this file, 1 to 3")
        choice.fill(str(frame))
        choice.press("Enter")
        expect(opened.get_by_role("heading", name=f"stack.tif (image {frame})")).to_be_visible()
        expect(opened.locator(".image img")).to_have_count(2)
        save_csv(opened, tmp_path / "slices.csv")
        (row,) = csv.DictReader((tmp_path / "slices.csv").read_text("utf-8-sig").splitlines())
        prediction = httpx.post(f"{service.url}/predict?frame={frame}", files=clients.form(stack)).raise_for_status().json()
        assert row["file"] == f"stack.tif (image {frame})"
        assert float(row["probability"]) == pytest.approx(prediction["probability"], abs=1e-6)


def test_report_is_self_contained_and_prints_on_one_page(opened: Page, browser: Browser, tmp_path: Path) -> None:
    upload(opened, {"a <b> & c.png": PNG})
    label = opened.locator(".prediction .label b").inner_text()
    with opened.expect_download() as download:
        opened.get_by_role("button", name="Save report").click()
    download.value.save_as(tmp_path / "report.html")
    page = browser.new_page()
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if request.url.startswith("http") else None)
    page.goto((tmp_path / "report.html").as_uri())
    expect(page.locator(".image img")).to_have_count(2)
    assert page.locator(".image img").evaluate_all("images => images.every(each => each.naturalWidth > 0)")
    expect(page.locator("body")).to_contain_text(NOTICE)
    expect(page.locator("dl")).to_contain_text("a <b> & c.png")
    expect(page.locator("dl")).to_contain_text(
        re.compile(r"brain-tumor, version \d+\s*Created\s*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
    )
    expect(page.locator(".label b")).to_have_text(label)
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True, print_background=True))) == 1
    assert outside == []
    page.close()


def test_page_survives_a_restart_of_the_service(browser: Browser, service: Pair, tiny_model: Path) -> None:
    http, grpc = free_ports(2)
    settings = {"MODEL_DIR": tiny_model, "HTTP_PORT": http, "GRPC_PORT": grpc}
    settings |= {"PREDICTOR_HOST": service.predictor_url.removeprefix("http://")}
    url = f"http://127.0.0.1:{http}"
    with ui(url) as started, ExitStack() as stack:
        with running("serving", settings, f"{url}/readyz"):
            page = stack.enter_context(tab(browser, started.url))
            upload(page, {"first.png": PNG})
            expect(page.locator(".image img")).to_have_count(2)
        expect(page.locator(".state.away")).to_contain_text("The service cannot be reached. Try again in a moment")
        page.get_by_text("Bright lesion").click()
        expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")
        with running("serving", settings, f"{url}/readyz"):
            expect(page.locator(".state.ready")).to_be_visible()
            page.get_by_role("button", name="Try again").click()
            expect(page.get_by_role("heading", name="phantom-bright.png")).to_be_visible()
            expect(page.locator(".image img")).to_have_count(2)
            expect(page.get_by_role("alert")).to_have_count(0)


def test_page_fits_the_width_of_a_phone(browser: Browser, page_process: Ui) -> None:
    with tab(browser, page_process.url, viewport=PHONE) as page:
        upload(page, {f"{PATIENT}_with_a_very_long_name_that_no_line_holds_{index}.png": PNG for index in range(2)})
        expect(page.locator(".image img")).to_have_count(2)
        for view in ("Read slices", "The model"):
            page.get_by_role("tab", name=view).click()
            expect(page.get_by_role("tabpanel").locator("h2").first).to_be_visible()
            widths = page.evaluate("[document.documentElement.scrollWidth, document.querySelector('.stMain').scrollWidth]")
            assert widths == [PHONE["width"]] * 2


def test_model_tab_shows_the_model_card(browser: Browser, page_process: Ui, service: Pair) -> None:
    card = httpx.get(f"{service.url}/model").json()
    with tab(browser, f"{page_process.url}/?view=The+model") as page:
        expect(page.get_by_text(card["dataset"]["fingerprint"])).to_be_visible()
        expect(page.get_by_text("The model card contains none.")).to_have_count(4)  # trained, never evaluated
        expect(page.get_by_text("Training: loss")).to_be_visible()
        expect(page.locator("[data-testid=stVegaLiteChart]")).to_have_count(2)


def test_browser_requests_nothing_from_other_hosts(browser: Browser, page_process: Ui) -> None:
    context = browser.new_context()
    page = context.new_page()
    requested: set[str] = set()
    page.on("request", lambda request: requested.add(request.url))
    page.goto(page_process.url)
    page.get_by_text("Bright lesion").click()
    expect(page.locator(".image img")).to_have_count(2)
    context.close()
    assert {url for url in requested if not url.startswith((page_process.url, "data:", "blob:"))} == set()


def test_metrics_count_outcomes_and_neither_they_nor_the_log_contain_file_names(browser: Browser, service: Pair) -> None:
    with ui(service.url) as started:
        with tab(browser, started.url) as page:
            upload(page, {f"{PATIENT}.png": PNG, f"{PATIENT}2.png": b"no image", f"{PATIENT}3.dcm": bytes(128) + b"DICM"})
            page.get_by_role("slider").press("ArrowLeft")  # a rerun of the page must count nothing again
            expect(page.get_by_role("slider")).to_have_value("55")
            samples = scrape(started)
            assert samples["brain_tumor_ui_sessions"] == 1
            assert samples['brain_tumor_ui_uploads_total{outcome="answered"}'] == 1
            assert samples['brain_tumor_ui_uploads_total{outcome="refused"}'] == 2
            assert samples['brain_tumor_ui_uploads_total{outcome="failed"}'] == 0
            assert samples["brain_tumor_ui_request_seconds_count"] == 1
        log = started.process.output.read_text()
        metrics = httpx.get(started.metrics_url).text
    assert f"service: {service.url}" in log
    for text in (log, metrics):
        assert "Mueller" not in text


def scrape(started: Ui) -> dict[str, float]:
    lines = [line for line in httpx.get(started.metrics_url).text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
