"""Keep all that the local runner says in a file, and show what the steps themselves say."""

import io
import re
import sys
from collections import deque
from typing import TextIO

from components.uris import redact_credentials

STEP_LINE = re.compile(r"^\s*((?:ingest|preprocess|train|evaluate|gate|register|deploy|refuse|summary): .*)$")
TRACEBACK = "Traceback (most recent call last):"


class StepLog(io.TextIOBase):
    """A stand-in for stdout: every line goes to `file`, a step's own lines also to the real stdout.

    Attributes:
        tail: the last lines of a step that broke with a traceback; empty for one that said what was wrong.
    """

    def __init__(self, file: TextIO):
        self._file = file
        self._stdout = sys.stdout
        self._rest = ""
        self._in_traceback = False
        self.tail: deque[str] = deque(maxlen=8)

    def write(self, text: str) -> int:
        """Take text as it comes, part of a line or several."""
        *lines, self._rest = (self._rest + text).split("\n")
        for raw in lines:
            line = redact_credentials(raw)  # the runner repeats the source as it was given
            self._file.write(f"{line}\n")
            self._file.flush()
            if said := STEP_LINE.match(line):
                print(said[1], file=self._stdout, flush=True)
            self._in_traceback = line.strip() == TRACEBACK or (self._in_traceback and bool(line.strip()))
            if self._in_traceback:
                self.tail.append(line)
        return len(text)
