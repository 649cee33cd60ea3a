"""Signals that end a process of the service."""

import os
import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def exit_on_signals() -> None:
    """End this process at once, with status 0, on SIGINT or SIGTERM: while it starts, there is nothing to finish.

    Python keeps SIGINT ignored if the parent ignores it, as a shell does for a background job.
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))


def leave_signals_to_uvicorn() -> None:
    """Do nothing on a signal: uvicorn handles it, finishes its requests, and then raises it again for this handler."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
