"""The one error a step raises for what its user gave it."""

import contextlib
import sys
from collections.abc import Iterator


class InputError(ValueError):
    """What was given cannot be used. The message says what came, what was wanted, and where."""


@contextlib.contextmanager
def exit_clearly(step: str) -> Iterator[None]:
    """End the process with one line instead of a traceback when the step's input cannot be used."""
    try:
        yield
    except InputError as error:
        sys.exit(f"{step}: error: {error}")
