"""Start the page: `python -m ui`."""

import logging
import os
import sys
import traceback
from pathlib import Path

from ui.settings import SettingError, Settings

MAX_UPLOAD_BYTES = 11 * 1024 * 1024
logger = logging.getLogger("ui")


def main() -> None:
    """Read the settings, start the metrics, and serve the page until SIGTERM."""
    try:
        settings = Settings.from_environment(os.environ)
    except SettingError as error:
        sys.exit(f"error: {error}")
    _quieten()
    import streamlit
    from prometheus_client import start_http_server
    from starlette.formparsers import MultiPartParser

    from ui import sessions

    logging.getLogger("streamlit.error_util").disabled = True  # `_note` writes instead
    MultiPartParser.spool_max_size = MAX_UPLOAD_BYTES  # above this size Starlette would write an image to the disk
    try:
        start_http_server(settings.metrics_port)
    except OSError as error:
        sys.exit(f"error: METRICS_PORT {settings.metrics_port} cannot be bound: {error.strerror}")
    page = streamlit.App(Path(__file__).with_name("app.py"), lifespan=sessions.expire_sessions, on_script_error=_note)
    print(f"page: http://localhost:{settings.page_port}{settings.page_path}, asking {settings.api_url}", flush=True)
    options = {"server.port": settings.page_port, "server.baseUrlPath": settings.page_path.strip("/")}
    page.run(config=options | {"server.disconnectedSessionTTL": sessions.FORGET_SECONDS})


def _quieten() -> None:
    """Keep out of the log what the C libraries behind Pillow write, on file descriptor 2, of an image and with bytes of it."""
    sys.stderr = sys.stdout
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _note(error: Exception) -> None:
    """Write down what nobody foresaw without its message, which may hold a file's name."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    logger.error("the page failed: %s at %s", type(error).__name__, ", ".join(f"{at.filename}:{at.lineno}" for at in frames))


if __name__ == "__main__":
    main()
