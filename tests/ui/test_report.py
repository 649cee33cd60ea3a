import dataclasses
import re
from datetime import UTC, datetime

import numpy as np
from playwright.sync_api import Browser

from brain_tumor.model_card import NOTICE
from serving.inference import WARNINGS
from tests.ui.predictions import BINARY
from ui.report import STYLE, report_html


def test_report_names_its_subject_and_escapes_the_file_name() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    created = datetime(2026, 3, 1, 9, 5, 7, tzinfo=UTC)
    html = report_html("<i>.png $name", BINARY, pixels, pixels, colour_map="inferno", opacity=0.35, created=created)
    for expected in ("&lt;i&gt;.png $name", "version 7", "2026-03-01 09:05:07 UTC", "35%", NOTICE, "inferno", STYLE.read_text()):
        assert expected in html
    assert "<i>.png" not in html
    assert html.count("data:image/png;base64,") == 2
    assert html.count("<img ") == 2


def test_report_with_every_warning_prints_on_one_page(browser: Browser) -> None:
    prediction = dataclasses.replace(BINARY, warnings=tuple(WARNINGS.values()), warning_codes=tuple(WARNINGS))
    pixels, created = np.zeros((640, 640, 3), np.uint8), datetime(2026, 3, 1, tzinfo=UTC)
    page = browser.new_page()
    page.set_content(report_html("a.png", prediction, pixels, pixels, colour_map="inferno", opacity=0.35, created=created))
    assert page.locator(".banner").count() == len(WARNINGS)
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True, print_background=True))) == 1
    page.close()
