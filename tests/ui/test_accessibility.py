"""Accessibility of the web page: axe, keyboard, dark mode, text alternatives."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from brain_tumor.phantoms import phantom_pngs
from tests.ui.conftest import DESKTOP, PHONE, Ui, tab, upload

PNG = phantom_pngs(1)[0]
SEVERE = ("serious", "critical")


def findings(page: Page) -> list[tuple[str, list[str]]]:
    """Return the serious and critical violations that axe finds on the page, in Streamlit's widgets too."""
    violations = Axe().run(page).response["violations"]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations if each["impact"] in SEVERE]


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE)], ids=["light", "dark"])
def test_axe_finds_no_severe_violation(browser: Browser, page_process: Ui, scheme: str, viewport: dict[str, int]) -> None:
    with tab(browser, page_process.url, color_scheme=scheme, viewport=viewport) as page:
        assert findings(page) == []
        upload(page, {"slice.png": PNG, "broken.png": PNG[:200]})
        expect(page.locator(".image img")).to_have_count(2)
        assert findings(page) == []
        page.get_by_role("radiogroup", name="2 slices").get_by_role("radio").first.press("ArrowDown")
        expect(page.get_by_role("alert")).to_be_visible()
        assert findings(page) == []
        page.get_by_role("tab", name="The model").click()
        expect(page.locator("[data-testid=stVegaLiteChart] svg").first).to_be_visible()
        assert findings(page) == []


def test_page_follows_the_browsers_colour_scheme(browser: Browser, page_process: Ui) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        with tab(browser, page_process.url, color_scheme=scheme) as page:
            colours[scheme] = page.evaluate(
                """[getComputedStyle(document.querySelector('.stApp')).backgroundColor,
                    getComputedStyle(document.querySelector('.empty')).backgroundColor]"""
            )
    assert colours == {"light": ["rgb(255, 255, 255)", "rgb(243, 246, 249)"], "dark": ["rgb(18, 24, 31)", "rgb(28, 37, 47)"]}


def test_phantom_is_predicted_and_saved_by_keyboard_alone(browser: Browser, page_process: Ui) -> None:
    with tab(browser, page_process.url) as page:
        tab_to(page, "Ring-shaped lesion")
        page.keyboard.press("Space")
        expect(page.locator(".image img")).to_have_count(2)
        expect(page.get_by_role("button", name="Save report")).to_be_enabled()
        tab_to(page, "Save report")
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        assert download.value.suggested_filename == "phantom-ring-report.html"


def test_images_and_bars_have_a_text_alternative(browser: Browser, page_process: Ui) -> None:
    with tab(browser, page_process.url) as page:
        upload(page, {"slice.png": PNG})
        expect(page.get_by_role("img", name="The slice, upright, as the model received it")).to_be_visible()
        expect(page.get_by_role("img", name="The slice under its Grad-CAM. ")).to_be_visible()
        expect(page.get_by_role("img", name="Probability of a tumour")).to_be_visible()


def tab_to(page: Page, text: str) -> None:
    """Press Tab until the control with the text has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('label, button, [role=radio]')?.innerText ?? ''").strip().endswith(text):
            return
    raise AssertionError(f"{text!r} cannot be reached by Tab")
