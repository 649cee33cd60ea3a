from dataclasses import replace

import numpy as np

from tests.ui.predictions import BINARY, FOUR, HEATMAP
from ui.advice import ADVICE
from ui.result import colour_bar, describe_peak, overlay_figure, prediction_html

HOSTILE = '"><script>alert(1)</script>'


def test_above_two_classes_each_has_a_bar_without_threshold() -> None:
    html = prediction_html(FOUR)
    assert html.count('role="img"') == 3
    assert html.count('class="bar chosen"') == 1
    assert 'aria-label="Probability of no tumour 0.100 of 1"' in html
    assert "threshold" not in html


def test_bar_of_two_classes_names_the_side_of_the_threshold() -> None:
    html = prediction_html(BINARY)
    assert html.count('role="img"') == 1
    assert 'aria-label="Probability of a tumour 0.30000000000000004 of 1, at or above the threshold 0.3"' in html
    assert '<div style="width: 30.0000%"></div>' in html
    assert '<i style="left: 30.0000%"></i>' in html
    assert "At or above the threshold: <b>tumour</b>" in html
    assert '<p class="banner" role="note">Odd.</p>' in html


def test_known_warning_has_its_name_and_what_to_do() -> None:
    codes = ("unlike_training", "uncertain")
    html = prediction_html(replace(BINARY, warnings=("odd", "old"), warning_codes=codes))
    for style, sentence, code in zip((" bad", ""), ("Odd", "Old"), codes, strict=True):
        expected = f'<p class="banner{style}" role="note"><b>{ADVICE[code].name}.</b> {sentence}. {ADVICE[code].action}</p>'
        assert expected in html


def test_figure_and_colour_bar_name_the_method_of_explanation() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    evidence = replace(BINARY, explanation="evidence")
    for prediction, caption, sentence in (
        (BINARY, "Grad-CAM: regions that raised", "Grad-CAM shows which regions raised the score"),
        (evidence, "Evidence map: regions that raised", "The model sums the evidence map into its score."),
        (replace(BINARY, explanation="other"), "Other: regions that raised", "Other shows which regions"),
    ):
        assert caption in overlay_figure(pixels, prediction)
        assert sentence in colour_bar("inferno", prediction)


def test_text_from_the_service_is_escaped() -> None:
    binary = replace(BINARY, label=HOSTILE, version=HOSTILE, warnings=(HOSTILE,), warning_codes=(HOSTILE,), explanation=HOSTILE)
    several = replace(FOUR, label=HOSTILE, probability={HOSTILE: 1.0})
    pixels = np.zeros((4, 4, 3), np.uint8)
    for html in (
        prediction_html(binary),
        prediction_html(several),
        overlay_figure(pixels, binary),
        colour_bar("inferno", binary),
    ):
        assert "<script" not in html
        assert "&#34;&gt;&lt;script&gt;" in html


def test_peak_is_described_in_words() -> None:
    assert describe_peak(HEATMAP) == "It is strongest in the lower right of the image."
    assert describe_peak(np.zeros((4, 4))) == "Nothing in the slice raised the score: the map is empty."
    assert describe_peak(np.eye(1)) == "It is strongest in the middle centre of the image."


def test_colour_bar_shows_the_colours_and_the_name_of_its_map() -> None:
    html = colour_bar("viridis", BINARY)
    assert "rgb(68 1 84)" in html  # the lowest of viridis
    assert "rgb(253 231 37)" in html
    assert "viridis" in html
