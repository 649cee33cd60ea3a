"""Print the progress of a long loop."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
# Not tqdm: it redraws one line for a terminal, but a pod's log needs whole lines.
SECONDS_BETWEEN_LINES = 2.0


def with_progress(items: Iterable[Item], description: str, *, total: int) -> Iterator[Item]:
    """Yield the items; print the number done, the rate and the time left every two seconds and at the end.

    Print counts only: file names are patient data and stay out of logs.

    Args:
        items: The items.
        description: The step, and what is done and counted, such as `ingest: read files`.
        total: Number of items.
    """
    started = last_printed = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last_printed >= SECONDS_BETWEEN_LINES or done == total:
            last_printed = now
            rate = done / max(now - started, 1e-9)
            left = "" if done == total else f", {(total - done) / rate:.0f} s left"
            print(f"{description} {done:,} of {total:,} ({done / total:.0%}), {rate:,.0f} a second{left}", flush=True)
