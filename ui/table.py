"""The batch as a table: to look at, and as CSV with the service's own numbers."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from ui.batch import Result, Slice
from ui.errors import RequestError
from ui.formatting import class_display_name, format_probability

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
REMARKS = ("warnings", "error")

Row = dict[str, str | float | None]


def rows(slices: Sequence[Slice], results: Mapping[str, Result]) -> list[Row]:
    """Return one row a slice, all with the same columns; what is not known is None."""
    found = [_row(each, results[each.id]) for each in slices]
    probabilities = sorted({column for row in found for column in row if column.startswith("probability")}) or ["probability"]
    columns = ["file", "label", *probabilities, "threshold", "confidence", "model_version", "warnings", "error"]
    return [{column: row.get(column) for column in columns} for row in found]


def csv_text(table: Sequence[Row]) -> str:
    """Write rows as CSV (RFC 4180); a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(table[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({column: _harmless(cell) for column, cell in row.items()} for row in table)
    return buffer.getvalue()


def html(table: Sequence[Row]) -> str:
    """Write rows as a table that scrolls within itself: numbers to three decimals, warnings and error as remarks."""
    columns = [column for column in table[0] if column not in REMARKS]
    head = "".join(f'<th scope="col">{escape(_heading(column))}</th>' for column in [*columns, "remarks"])
    body = "".join(_html_row(columns, row) for row in table)
    return (
        f'<p class="soft">{escape(_summary(table))}</p><div class="scroll" tabindex="0" role="region" aria-label="All slices">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(each: Slice, result: Result) -> Row:
    if isinstance(result, RequestError):
        return {"file": each.name, "error": str(result)}
    probability = result.probability
    by_class = probability if isinstance(probability, dict) else {"": probability}
    columns = {f"probability_{label}".rstrip("_"): value for label, value in by_class.items()}
    return {
        "file": each.name,
        "label": result.label,
        **columns,
        "threshold": result.threshold,
        "confidence": result.confidence,
        "model_version": result.version,
        "warnings": "; ".join(result.warnings),
    }


def _harmless(cell: str | float | None) -> str | float | None:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def _summary(table: Sequence[Row]) -> str:
    labels = Counter(f"called {class_display_name(str(row['label']))}" if row["label"] else "without an answer" for row in table)
    return ", ".join(f"{count} {what}" for what, count in sorted(labels.items()))


def _heading(column: str) -> str:
    return {"model_version": "model"}.get(column, class_display_name(column))


def _html_row(columns: Sequence[str], row: Row) -> str:
    cells = "".join(f"<td>{escape(_cell(column, row))}</td>" for column in columns[1:])
    remarks = "; ".join(str(row[column]) for column in REMARKS if row[column])
    return f'<tr><th scope="row">{escape(str(row["file"]))}</th>{cells}<td class="remarks">{escape(remarks)}</td></tr>'


def _cell(column: str, row: Row) -> str:
    value, threshold = row[column], row["threshold"]
    if isinstance(value, float):
        if column == "threshold":
            return f"{value:g}"
        return format_probability(value, threshold if column == "probability" and isinstance(threshold, float) else None)
    return class_display_name(str(value)) if column == "label" and value else str(value or "")
