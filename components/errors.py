"""How a step ends on invalid input."""

import contextlib
import sys
from collections.abc import Iterator

from brain_tumor.errors import InputError


@contextlib.contextmanager
def exit_on_input_error(step: str) -> Iterator[None]:
    """Exit with a one-line message instead of a traceback if the step's input is invalid."""
    try:
        yield
    except InputError as error:
        sys.exit(f"{step}: error: {error}")
