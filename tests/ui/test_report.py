from datetime import UTC, datetime

import numpy as np

from brain_tumor.model_card import NOTICE
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
