"""Print the progress of a long loop."""

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
# Not tqdm: it redraws one line for a terminal, but a pod's log needs whole lines.
SECONDS_BETWEEN_LINES = 2.0


def with_progress(items: Sequence[Item], description: str) -> Iterator[Item]:
    """Yield the items and print the number done every two seconds and at the end.

    Print counts only: file names are patient data and stay out of logs.
    """
    last_printed = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last_printed >= SECONDS_BETWEEN_LINES or done == len(items):
            last_printed = time.monotonic()
            print(f"ingest: {description} {done:,} of {len(items):,} ({done / len(items):.0%})", flush=True)
