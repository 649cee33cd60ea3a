"""How one answer and a batch are written: in the table, as CSV, in the report."""

import csv
import io
from datetime import UTC, datetime

import numpy as np
import pytest

from brain_tumor.model_card import NOTICE
from ui import table
from ui.batch import Result, Slice
from ui.client import Prediction
from ui.errors import RequestError
from ui.formatting import class_display_name, format_probability
from ui.report import report_html
from ui.result import colour_bar, describe_peak, prediction_html

HEATMAP = np.array([[0, 0, 0], [0, 0, 1]], np.float32)
BINARY = Prediction("tumor", 0.1 + 0.2, 0.3, 0.1 + 0.2, "7", ("odd", "old"), HEATMAP)
FOUR = Prediction("glioma", {"glioma": 0.6, "meningioma": 0.3, "no_tumor": 0.1}, None, 0.6, "7", (), HEATMAP)


def read_csv(results: dict[str, Result]) -> list[dict[str, str]]:
    slices = [Slice(name, name, b"") for name in results]
    text = table.csv_text(table.rows(slices, results))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_csv_holds_the_exact_numbers_and_the_error() -> None:
    first, second = read_csv({"a.png": BINARY, "b.png": RequestError("corrupt")})
    assert first == {
        "file": "a.png",
        "label": "tumor",
        "probability": "0.30000000000000004",
        "threshold": "0.3",
        "confidence": "0.30000000000000004",
        "model_version": "7",
        "warnings": "odd; old",
        "error": "",
    }
    assert float(first["probability"]) == BINARY.probability
    assert second["error"] == str(RequestError("corrupt"))
    assert {value for column, value in second.items() if column not in ("file", "error")} == {""}


def test_above_two_classes_each_has_a_column_and_a_bar() -> None:
    (row,) = read_csv({"a.png": FOUR})
    assert {column: row[column] for column in row if column.startswith("probability")} == {
        "probability_glioma": "0.6",
        "probability_meningioma": "0.3",
        "probability_no_tumor": "0.1",
    }
    assert row["threshold"] == ""
    html = prediction_html(FOUR)
    assert html.count('role="img"') == 3
    assert html.count('class="bar chosen"') == 1
    assert 'aria-label="Probability of no tumour 0.100 of 1"' in html
    assert "threshold" not in html


def test_a_batch_without_any_answer_is_a_table_too() -> None:
    (row,) = read_csv({"a.png": RequestError("unreachable")})
    assert (row["probability"], row["error"]) == ("", str(RequestError("unreachable")))
    assert "1 without an answer" in table.html(table.rows([Slice("a", "a", b"")], {"a": RequestError("unreachable")}))


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_name_that_a_spreadsheet_would_compute_is_made_text(name: str) -> None:
    assert read_csv({name: BINARY})[0]["file"] == f"'{name}"


def test_names_are_escaped_in_the_table_and_kept_whole_in_the_csv() -> None:
    name = 'a,"<b>";\n&.png'
    assert read_csv({name: BINARY})[0]["file"] == name
    assert "<b>" not in table.html(table.rows([Slice(name, name, b"")], {name: BINARY}))


@pytest.mark.parametrize(
    ("value", "distinct_from", "text"),
    [
        (0.5, 0.5, "0.500"),
        (0.49996, 0.5, "0.49996"),
        (0.4999999999, 0.5, "0.4999999999"),
        (0.50004, 0.5, "0.50004"),
        (0.7, 0.5, "0.700"),
        (0.0, 0.5, "0.000"),
        (1e-9, 0.5, "< 0.001"),
        (0.99999, 0.5, "> 0.999"),
        (1.0, None, "1.000"),
    ],
)
def test_a_number_never_reads_as_what_it_is_not(value: float, distinct_from: float | None, text: str) -> None:
    assert format_probability(value, distinct_from) == text


def test_classes_are_written_as_a_reader_does() -> None:
    labels = ("tumor", "no_tumor", "glioma", "pituitary")
    assert list(map(class_display_name, labels)) == ["tumour", "no tumour", "glioma", "pituitary"]


def test_the_strongest_place_is_said_in_words() -> None:
    assert describe_peak(HEATMAP) == "It is strongest in the lower right of the image."
    assert describe_peak(np.zeros((4, 4))) == "Nothing in the slice raised the score: the map is empty."
    assert describe_peak(np.eye(1)) == "It is strongest in the middle centre of the image."


def test_the_colour_bar_names_its_colours_and_ends() -> None:
    html = colour_bar("viridis", "tumor")
    assert "rgb(68 1 84)" in html  # the lowest of viridis
    assert "rgb(253 231 37)" in html
    assert "viridis" in html


def test_the_report_says_what_it_is_of_and_escapes_the_name() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    made = datetime(2026, 3, 1, 9, 5, 7, tzinfo=UTC)
    html = report_html("<i>.png $name", BINARY, pixels, pixels, colour_map="inferno", opacity=0.35, made=made)
    for wanted in ("&lt;i&gt;.png $name", "version 7", "2026-03-01 09:05:07 UTC", "35%", NOTICE, "inferno"):
        assert wanted in html
    assert "<i>.png" not in html
    assert html.count("data:image/png;base64,") == 2
