"""The results of a batch as a table and as CSV."""

import csv
import io
from dataclasses import replace

import pytest

from tests.ui.predictions import BINARY, FOUR
from ui import table
from ui.batch import Result, Slice
from ui.errors import RequestError


def read_csv(results: dict[str, Result]) -> list[dict[str, str]]:
    slices = [Slice(name, name, b"") for name in results]
    text = table.csv_text(table.rows(slices, results))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_the_exact_numbers_and_the_error() -> None:
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
        "in_distribution": "",
        "uncertain": "",
        "warning_codes": "",
    }
    assert float(first["probability"]) == BINARY.probability
    assert second["error"] == str(RequestError("corrupt"))
    assert {value for column, value in second.items() if column not in ("file", "error")} == {""}


def test_csv_has_likeness_uncertainty_and_codes_and_the_table_only_the_sentences() -> None:
    codes = ("unlike_training", "uncertain")
    warned = replace(BINARY, in_distribution=0.1 + 0.2, uncertain=True, warning_codes=codes)
    first, second = read_csv({"a.png": warned, "b.png": replace(BINARY, uncertain=False)})
    assert float(first["in_distribution"]) == 0.1 + 0.2
    assert (first["uncertain"], first["warning_codes"], second["uncertain"]) == ("true", "unlike_training; uncertain", "false")
    html = table.html(table.rows([Slice("a", "a", b"")], {"a": warned}))
    assert "odd; old" in html
    assert "unlike" not in html


def test_above_two_classes_each_has_a_column() -> None:
    (row,) = read_csv({"a.png": FOUR})
    assert {column: row[column] for column in row if column.startswith("probability")} == {
        "probability_glioma": "0.6",
        "probability_meningioma": "0.3",
        "probability_no_tumor": "0.1",
    }
    assert row["threshold"] == ""


def test_batch_without_a_prediction_is_a_table() -> None:
    (row,) = read_csv({"a.png": RequestError("unreachable")})
    assert (row["probability"], row["error"]) == ("", str(RequestError("unreachable")))
    assert "1 failed" in table.html(table.rows([Slice("a", "a", b"")], {"a": RequestError("unreachable")}))


PLAIN = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"]
FULL_WIDTH = ["\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20SUM(A1)", "\ufe661", "\ufe621", "\ufe631", "\ufe6bA1"]


@pytest.mark.parametrize("name", PLAIN + FULL_WIDTH)
def test_formula_in_a_file_name_becomes_text(name: str) -> None:
    assert read_csv({name: BINARY})[0]["file"] == f"'{name}"


def test_file_name_is_escaped_in_the_table_and_unchanged_in_the_csv() -> None:
    name = 'a,"<b>";\n&.png'
    assert read_csv({name: BINARY})[0]["file"] == name
    assert "<b>" not in table.html(table.rows([Slice(name, name, b"")], {name: BINARY}))


def test_files_of_one_name_can_be_told_apart() -> None:
    names = ["a.png", "a.png", "b", "a (2).png", "b", "a.png"]
    slices = [Slice(str(number), name, b"") for number, name in enumerate(names)]
    found = table.rows(slices, {each.id: BINARY for each in slices})
    assert [row["file"] for row in found] == ["a.png", "a (3).png", "b", "a (2).png", "b (2)", "a (4).png"]
