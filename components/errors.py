"""How a step ends on input that cannot be used."""

import contextlib
import sys
from collections.abc import Iterator

from brain_tumor.errors import InputError


@contextlib.contextmanager
def exit_on_input_error(step: str) -> Iterator[None]:
    """End the process with one line instead of a traceback when the step's input cannot be used."""
    try:
        yield
    except InputError as error:
        sys.exit(f"{step}: error: {error}")
