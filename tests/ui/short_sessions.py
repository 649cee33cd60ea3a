"""Start the web page with sessions that expire after a second: `python -m tests.ui.short_sessions`."""

import sys

from ui import __main__ as start
from ui import sessions

if __name__ == "__main__":
    sessions.EXPIRY_SECONDS = sessions.SWEEP_INTERVAL_SECONDS = 1
    sys.argv = [start.__file__]  # Streamlit looks for its configuration next to this file
    start.main()
