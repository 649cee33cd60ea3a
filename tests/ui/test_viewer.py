"""The displayed prediction, to the pixel: with a fake predictor behind the service."""

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from brain_tumor.dicom import Window
from brain_tumor.overlay import render_overlay
from brain_tumor.phantoms import phantom_pngs
from tests.brain_tumor.dicoms import dicom
from tests.serving import clients
from tests.serving.conftest import transformer
from tests.serving.fake_predictor import ROW, FakePredictor, running_fake_predictor
from tests.ui.conftest import SLICES, Ui, tab, ui, upload
from ui.result import scale_for_display
from ui.window import view_image

PNG = phantom_pngs(1)[0]


def assert_shown(page: Page, *expected: np.ndarray) -> None:
    """Wait until the displayed slice, and its overlay, are these images, uint8 [h, w, 3]: Streamlit sends one after the other."""
    for index, image in enumerate(expected):
        deadline = time.monotonic() + 10
        while not np.array_equal(actual := shown(page, index), image) and time.monotonic() < deadline:
            page.wait_for_timeout(50)
        np.testing.assert_array_equal(actual, image)


def shown(page: Page, index: int) -> np.ndarray:
    """Return the displayed slice (0) or its overlay (1), uint8 [h, w, 3]."""
    source = page.locator(".image img").nth(index).get_attribute("src")
    assert source is not None
    return clients.pixels(base64.b64decode(source.removeprefix("data:image/png;base64,")))


@pytest.fixture(scope="module")
def fake_page(tiny_model: Path) -> Iterator[tuple[Ui, FakePredictor]]:
    """The page in front of a transformer with a fake predictor, as the tiny model's heatmaps may be empty."""
    with running_fake_predictor() as fake, transformer(tiny_model, fake.host) as front, ui(front.url) as started:
        yield started, fake


def test_overlay_is_the_predictions_heatmap_over_the_slice(browser: Browser, fake_page: tuple[Ui, FakePredictor]) -> None:
    with tab(browser, fake_page[0].url) as page:
        upload(page, {"slice.png": PNG})
        expect(page.get_by_role("img", name="It is strongest in the upper right of the image.")).to_be_visible()
        expect(page.locator(".bar")).to_contain_text("0.750")
        with Image.open(io.BytesIO(PNG)) as image:
            pixels = scale_for_display(image)
        overlay = render_overlay(pixels, np.array(ROW["heatmap"]))
        assert (overlay != pixels).any()
        assert_shown(page, pixels, overlay)


def test_window_of_a_dicom_slice_changes_the_view_alone(browser: Browser, fake_page: tuple[Ui, FakePredictor]) -> None:
    data = dicom(np.arange(4096, dtype=np.uint16).reshape(64, 64), WindowCenter=900, WindowWidth=1800)
    with tab(browser, fake_page[0].url) as page:
        upload(page, {"slice.dcm": data})
        expect(page.locator(".image img")).to_have_count(2)
        assert_shown(page, view_image(data, None, None).pixels)
        level = page.get_by_role("slider", name="Window level")
        expect(level).to_have_value("900")
        calls = len(fake_page[1].received_headers)
        level.press("End")
        expect(page.get_by_text("Slice, with window level 4095, width 1800: the view only")).to_be_visible()
        pixels = view_image(data, None, Window(4095, 1800)).pixels
        assert_shown(page, pixels, render_overlay(pixels, np.array(ROW["heatmap"])))
        expect(page.get_by_text("change the view only, not what the model sees")).to_be_visible()
        page.get_by_role("button", name="Reset the window").click()
        expect(level).to_have_value("900")
        assert len(fake_page[1].received_headers) == calls
        page.locator(SLICES).set_input_files({"name": "slice.png", "mimeType": "image/png", "buffer": PNG})
        expect(page.get_by_role("heading", name="slice.png")).to_be_visible()
        expect(level).to_have_count(0)


def test_probability_just_below_the_threshold_does_not_read_as_the_threshold(
    browser: Browser, fake_page: tuple[Ui, FakePredictor]
) -> None:
    started, fake = fake_page
    fake.rows = [ROW | {"probability": [0.49996], "label": "no_tumor"}]
    with tab(browser, started.url) as page:
        upload(page, {"slice.png": PNG})
        expect(page.locator(".label b")).to_have_text("no tumour")
        expect(page.locator(".bar > p b").first).to_have_text("0.49996")
        expect(page.locator(".bar")).to_contain_text("Below the threshold: no tumour")
    fake.rows = [ROW]


def test_batch_shows_its_progress(browser: Browser, fake_page: tuple[Ui, FakePredictor]) -> None:
    started, fake = fake_page
    fake.delay_seconds = 0.5
    with tab(browser, started.url) as page:
        files = [{"name": str(index), "mimeType": "image/png", "buffer": PNG} for index in range(4)]
        page.locator(SLICES).set_input_files(files)  # type: ignore[arg-type]
        expect(page.get_by_text("Analysing slice 3 of 4")).to_be_visible()
        expect(page.get_by_role("progressbar")).to_be_visible()
        expect(page.get_by_role("radiogroup", name="4 slices")).to_be_visible()
        expect(page.get_by_role("progressbar")).to_have_count(0)
    fake.delay_seconds = 0


def test_slider_changes_the_overlay_and_the_saved_overlay_is_the_displayed_one(
    browser: Browser, fake_page: tuple[Ui, FakePredictor], tmp_path: Path
) -> None:
    with tab(browser, fake_page[0].url) as page:
        page.get_by_text("Ring-shaped lesion").click()
        expect(page.locator(".image img")).to_have_count(2)
        page.get_by_role("slider").focus()
        page.keyboard.press("ArrowLeft")
        expect(page.get_by_role("slider")).to_have_value("55")
        pixels = shown(page, 0)
        overlay = render_overlay(pixels, np.array(ROW["heatmap"]), opacity=0.55)
        assert_shown(page, pixels, overlay)

        with page.expect_download() as download:
            page.get_by_role("button", name="Save overlay").click()
        assert download.value.suggested_filename == "phantom-ring-overlay.png"
        download.value.save_as(tmp_path / "overlay.png")
        assert np.array_equal(clients.pixels((tmp_path / "overlay.png").read_bytes()), overlay)
