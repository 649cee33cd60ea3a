"""The results of all slices as an HTML table and as CSV. The CSV has the service's exact numbers."""

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from brain_tumor.model_card import NOTICE
from ui.batch import Result, Slice, distinct_names
from ui.errors import RequestError
from ui.formatting import class_display_name, format_probability
from ui.html import render

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
REMARKS = ("warnings", "error")
CSV_ONLY = ("in_distribution", "uncertain", "warning_codes")  # `warnings` has them in words

Row = dict[str, str | float | None]


def rows(slices: Sequence[Slice], results: Mapping[str, Result]) -> list[Row]:
    """Return one row per slice, all with the same columns. An unknown value is None. Files of one name are numbered."""
    names = distinct_names(slices)
    found = [_row(names[each.id], results[each.id]) for each in slices]
    probabilities = sorted({column for row in found for column in row if column.startswith("probability")}) or ["probability"]
    columns = ["file", "label", *probabilities, "threshold", "confidence", "model_version", *REMARKS, *CSV_ONLY]
    return [{column: row.get(column) for column in columns} for row in found]


def csv_text(table: Sequence[Row]) -> str:
    """Write rows as CSV (RFC 4180), truth values as in JSON.

    A text that a spreadsheet would evaluate as a formula is prefixed with an apostrophe.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(table[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({column: _csv_cell(cell) for column, cell in row.items()} for row in table)
    return buffer.getvalue()


def html(table: Sequence[Row]) -> Markup:
    """Write rows as a table that scrolls horizontally: numbers with three decimals, warnings and error as remarks."""
    columns = [column for column in table[0] if column not in REMARKS + CSV_ONLY]
    headings = [*("model" if column == "model_version" else class_display_name(column) for column in columns), "remarks"]
    cells = [[*(_cell(column, row) for column in columns), _remarks(row)] for row in table]
    return render("slices_table.html", summary=_summary(table), notice=NOTICE, headings=headings, rows=cells)


def _row(name: str, result: Result) -> Row:
    if isinstance(result, RequestError):
        return {"file": name, "error": str(result)}
    probability = result.probability
    by_class = probability if isinstance(probability, dict) else {"": probability}
    columns = {f"probability_{label}".rstrip("_"): value for label, value in by_class.items()}
    return {
        "file": name,
        "label": result.label,
        **columns,
        "threshold": result.threshold,
        "confidence": result.confidence,
        "model_version": result.version,
        "warnings": "; ".join(result.warnings),
        "in_distribution": result.in_distribution,
        "uncertain": result.uncertain,
        "warning_codes": "; ".join(result.warning_codes),
    }


def _csv_cell(cell: str | float | None) -> str | float | None:
    if isinstance(cell, bool):
        return str(cell).lower()
    # A spreadsheet takes a full-width sign like the plain one, into which NFKC turns it.
    if isinstance(cell, str) and unicodedata.normalize("NFKC", cell[:1]).startswith(FORMULA_STARTS):
        return f"'{cell}"
    return cell


def _summary(table: Sequence[Row]) -> str:
    outcomes = Counter(f"predicted {class_display_name(str(row['label']))}" if row["label"] else "failed" for row in table)
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))


def _remarks(row: Row) -> str:
    return "; ".join(str(row[column]) for column in REMARKS if row[column])


def _cell(column: str, row: Row) -> str:
    value, threshold = row[column], row["threshold"]
    if isinstance(value, float):
        if column == "threshold":
            return f"{value:g}"
        return format_probability(value, threshold if column == "probability" and isinstance(threshold, float) else None)
    return class_display_name(str(value)) if column == "label" and value else str(value or "")
