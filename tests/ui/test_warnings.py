"""The warnings and the method of explanation on the web page, in front of a real service."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from serving.inference import WARNINGS
from tests.serving.brightness_model import EXPECTED, IMAGES
from tests.serving.conftest import Pair
from tests.serving.conftest import brightness_service as brightness_service
from tests.serving.conftest import service_of_0_1_0 as service_of_0_1_0
from tests.ui.conftest import PHONE, Ui, tab, ui, upload
from ui.advice import ADVICE, OF_THE_IMAGE

FILES = {f"grey-{level}.png": data for level, data in zip(EXPECTED, IMAGES, strict=True)}


@pytest.fixture(scope="module")
def warning_page(brightness_service: Pair) -> Iterator[Ui]:
    with ui(brightness_service.url) as started:
        yield started


def test_every_warning_of_the_service_has_a_name_and_an_action() -> None:
    assert set(ADVICE) == set(WARNINGS) == {"synthetic_model", *OF_THE_IMAGE}
    assert all(len(advice.action) > 10 for advice in ADVICE.values())


@pytest.mark.parametrize("viewport", [None, PHONE], ids=["desktop", "phone"])
def test_each_slice_shows_the_meaning_of_its_warnings_and_what_to_do(
    viewport: dict[str, int] | None, browser: Browser, warning_page: Ui
) -> None:
    with tab(browser, warning_page.url, **({"viewport": viewport} if viewport else {})) as page:
        upload(page, FILES)
        choices = page.get_by_role("radiogroup", name="4 slices")
        expect(choices).to_contain_text("no tumour, uncertain")
        expect(choices).to_contain_text("tumour, unlike the training images, uncertain")
        shown = page.get_by_role("region", name="Prediction")
        for index, (_, _, codes) in enumerate(EXPECTED.values()):
            choices.get_by_role("radio").nth(index).press("Space")
            expect(page.get_by_role("heading", name=list(FILES)[index])).to_be_visible()
            expect(shown.get_by_role("note")).to_have_count(len(codes))
            for position, code in enumerate(codes):
                banner = shown.get_by_role("note").nth(position)
                expect(banner).to_contain_text(f"{ADVICE[code].name}. {WARNINGS[code][0].upper()}{WARNINGS[code][1:]}.")
                expect(banner).to_contain_text(ADVICE[code].action)
            expect(shown.locator(".banner.bad")).to_have_count(codes.count("unlike_training"))


def test_table_has_the_warnings_in_words_and_the_csv_their_codes(browser: Browser, warning_page: Ui, tmp_path: Path) -> None:
    with tab(browser, warning_page.url) as page:
        upload(page, FILES)
        rows = page.get_by_role("region", name="All slices").locator("tbody tr")
        expect(rows.nth(2).locator("td").last).to_have_text(WARNINGS["unlike_training"])
        expect(rows.nth(3).locator("td").last).to_have_text(f"{WARNINGS['unlike_training']}; {WARNINGS['uncertain']}")
        with page.expect_download() as download:
            page.get_by_role("button", name="Save as CSV").click()
        download.value.save_as(tmp_path / "slices.csv")
    with (tmp_path / "slices.csv").open(newline="", encoding="utf-8-sig") as file:
        found = list(csv.DictReader(file))
    assert [row["warning_codes"] for row in found] == ["; ".join(codes) for _, _, codes in EXPECTED.values()]
    assert [row["uncertain"] for row in found] == ["false", "true", "false", "true"]
    assert [float(row["in_distribution"]) for row in found] == pytest.approx([0.8, 0.6, 0.2, 0.0], abs=1e-6)


def test_page_names_the_evidence_map_and_how_the_model_was_calibrated(browser: Browser, warning_page: Ui) -> None:
    with tab(browser, warning_page.url) as page:
        upload(page, {"slice.png": IMAGES[0]})
        expect(page.get_by_role("img", name="The slice under its evidence map. ")).to_be_visible()
        expect(page.get_by_text("Evidence map: regions that raised the score")).to_be_visible()
        expect(page.get_by_text("The model sums the evidence map into its score.")).to_be_visible()
        page.get_by_role("tab", name="The model").click()
        expect(page.get_by_role("heading", name="How it was calibrated")).to_be_visible()
        expect(page.get_by_text("At an error rate of 10 %")).to_contain_text("no tumour 0.300, tumour 0.250")
        expect(page.get_by_text("The heatmap (evidence map) shows")).to_be_visible()
        expect(page.get_by_text("Grad-CAM")).to_have_count(0)


def test_page_of_a_model_of_0_1_0_shows_no_warning_and_no_calibration(browser: Browser, service_of_0_1_0: Pair) -> None:
    with ui(service_of_0_1_0.url) as started, tab(browser, started.url) as page:
        upload(page, {"slice.png": IMAGES[-1]})
        expect(page.get_by_text("Grad-CAM: regions that raised the score")).to_be_visible()
        expect(page.get_by_role("region", name="Prediction").get_by_role("note")).to_have_count(0)
        page.get_by_role("tab", name="The model").click()
        expect(page.get_by_role("heading", name="Intended use and limits")).to_be_visible()
        expect(page.get_by_role("heading", name="How it was calibrated")).to_have_count(0)
