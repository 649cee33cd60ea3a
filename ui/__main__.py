"""Start the web page."""

import logging
import math
import os
import signal
import sys
import traceback
from pathlib import Path

from brain_tumor.settings import read_settings
from ui.settings import Settings

MEBIBYTE = 1024 * 1024
logger = logging.getLogger("ui")


def main() -> None:
    """Read the settings, start the metrics server, and serve the page until SIGINT or SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a background job of a script inherits SIGINT as ignored
        signal.signal(number, lambda *_: sys.exit())
    settings = read_settings(Settings, "ui", __doc__)
    _silence_c_libraries()
    import streamlit
    from prometheus_client import start_http_server
    from starlette.formparsers import MultiPartParser
    from starlette.middleware import Middleware

    from ui.index import index_route
    from ui.origin import SameOrigin
    from ui.sessions import expire_sessions

    logging.getLogger("streamlit.error_util").disabled = True  # `_log_error` logs instead
    # Above the limits of uploads.py, batch.py and series_files.py, which users read.
    max_upload_mib = math.ceil(settings.max_series_bytes / MEBIBYTE) + 1
    MultiPartParser.spool_max_size = (max_upload_mib + 1) * MEBIBYTE  # Starlette would write a larger upload to disk
    try:
        start_http_server(settings.metrics_port)
    except OSError as error:
        sys.exit(f"error: METRICS_PORT: got {settings.metrics_port}, expected a free port: {error.strerror}")
    page = streamlit.App(
        Path(__file__).with_name("app.py"),
        lifespan=expire_sessions,
        routes=[index_route(settings.page_path, settings.session_minutes)],
        middleware=[Middleware(SameOrigin)],
        on_script_error=_log_error,
    )
    print(f"page: http://localhost:{settings.page_port}{settings.page_path}, service: {settings.api_url}", flush=True)
    options = {"server.port": settings.page_port, "server.baseUrlPath": settings.page_path.strip("/")}
    options |= {"server.maxUploadSize": max_upload_mib, "server.disconnectedSessionTTL": math.ceil(settings.session_minutes * 60)}
    page.run(config=options)


def _silence_c_libraries() -> None:
    """Discard writes to file descriptor 2: the C libraries behind Pillow print there about an image, with bytes of it."""
    sys.stderr = sys.stdout
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _log_error(error: Exception) -> None:
    """Log an unexpected error without its message, which may contain a file name."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    logger.error("the page failed: %s at %s", type(error).__name__, ", ".join(f"{at.filename}:{at.lineno}" for at in frames))


if __name__ == "__main__":
    main()
