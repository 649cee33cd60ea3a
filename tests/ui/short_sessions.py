"""Start the page with a short memory: `python -m tests.ui.short_sessions`."""

import sys

from ui import __main__ as start
from ui import sessions

if __name__ == "__main__":
    sessions.FORGET_SECONDS = sessions.SWEEP_SECONDS = 1
    sys.argv = [start.__file__]  # where Streamlit looks for its settings
    start.main()
