"""Write the local runner's output to a file and show the steps' own lines."""

import contextlib
import io
import re
import sys
from collections import deque
from typing import TextIO

from components.uris import redact_credentials

STEP_LINE = re.compile(r"^\s*((?:ingest|preprocess|train|evaluate|gate|register|deploy|refuse|summary): .*)$")
TRACEBACK = "Traceback (most recent call last):"


class StepLog(io.TextIOBase):
    """A replacement for stdout: every line goes to `file`, a step's own lines also to the real stdout.

    Attributes:
        tail: The last lines of the last traceback; empty if a step failed with a message instead.
        complete: Whether every line could be written: a full disk ends a step, not the log of its error.
    """

    def __init__(self, file: TextIO):
        self._file = file
        self._stdout = sys.stdout
        self._rest = ""
        self._in_traceback = False
        self.complete = True
        self.tail: deque[str] = deque(maxlen=8)

    def write(self, text: str) -> int:
        """Take text: a part of a line, or several lines."""
        *lines, self._rest = (self._rest + text).split("\n")
        for raw in lines:
            line = redact_credentials(raw)  # the runner prints the source as the user gave it
            try:
                self._file.write(f"{line}\n")
                self._file.flush()
            except OSError:
                self.complete = False
            if match := STEP_LINE.match(line):
                with contextlib.suppress(OSError):
                    print(match[1], file=self._stdout, flush=True)
            self._in_traceback = line.strip() == TRACEBACK or (self._in_traceback and bool(line.strip()))
            if self._in_traceback:
                self.tail.append(line)
        return len(text)
