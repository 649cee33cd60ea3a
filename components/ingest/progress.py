"""Say how far a long loop is, in lines a person can read."""

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 2.0


def with_progress(items: Sequence[Item], description: str) -> Iterator[Item]:
    """Yield the items, printing how many are done every two seconds and at the end.

    Counts only: file names are patient data and stay out of a log.
    """
    last_printed = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last_printed >= SECONDS_BETWEEN_LINES or done == len(items):
            last_printed = time.monotonic()
            print(f"ingest: {description} {done:,} of {len(items):,} ({done / len(items):.0%})", flush=True)
