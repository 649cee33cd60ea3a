"""Start the transformer: `python -m serving`."""

import contextlib
import ctypes
import gc
import os
import sys

from brain_tumor.errors import InputError
from brain_tumor.file_digests import UNCHECKED, check_file_digests, check_model_digest
from brain_tumor.model_card import ModelCard, read_model_card
from brain_tumor.settings import read_settings
from serving.logs import configure_logging, logger
from serving.no_model import serve_no_model
from serving.settings import MOUNTED_MODEL, Settings
from serving.signals import exit_on_signals

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of mallopt(3)
LARGE_BLOCK_BYTES = 1024 * 1024
KEPT_BYTES = 32 * 1024 * 1024
COLLECT_AFTER_OBJECTS = 10_000


def main() -> None:
    """Read settings and model card, check the model's files, and serve until SIGTERM or SIGINT."""
    exit_on_signals()
    settings = read_settings(Settings, "serving", "Serve the transformer over REST and gRPC.")
    if settings.model_dir == MOUNTED_MODEL and not MOUNTED_MODEL.exists():
        serve_no_model(settings.http_port)
    try:
        name = f"the model in {settings.model_dir}"
        is_checked = check_file_digests(settings.model_dir, name) is not None
        if settings.model_digest:
            check_model_digest(settings.model_dir, settings.model_digest, name)
            is_checked = True
        _serve(settings, read_model_card(settings.model_dir), is_checked=is_checked)
    except InputError as error:
        sys.exit(f"error: {error}")


def _serve(settings: Settings, card: ModelCard, *, is_checked: bool) -> None:
    configure_logging()
    if not is_checked:
        logger.warning(UNCHECKED)
    _reuse_memory()
    os.environ["FASTAPI_OTEL_AUTO_CONFIGURE"] = "false"  # FastAPI's own spans have the path, the query and the Host header
    # Slow imports: an invalid setting is reported before them.
    from serving.metrics import Metrics
    from serving.server import Server
    from serving.transformer import Transformer

    transformer: type[Transformer] = Transformer
    if settings.otel_exporter_otlp_endpoint:
        from serving.tracing import TracedTransformer

        transformer = TracedTransformer

    metrics = Metrics(card)
    server = Server(transformer(card, settings, metrics), settings, metrics)
    gc.freeze()  # the imported modules: no collection looks through them again
    gc.set_threshold(COLLECT_AFTER_OBJECTS)
    server.run()


def _reuse_memory() -> None:
    """Let glibc keep some of the memory that images leave for the next ones, and return the memory of large images at once."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_ARENA_MAX, 2)


if __name__ == "__main__":
    main()
