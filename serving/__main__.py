"""Start the transformer: `python -m serving`."""

import contextlib
import ctypes
import os
import sys

from brain_tumor.model_card import ModelCardError, read_model_card
from serving.logs import configure_logging
from serving.settings import SettingError, Settings

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of mallopt(3)
LARGE_BLOCK_BYTES = 1024 * 1024


def main() -> None:
    """Read settings and card, and serve until SIGTERM."""
    try:
        settings = Settings.from_environment(os.environ)
        card = read_model_card(settings.model_dir)
    except (SettingError, ModelCardError) as error:
        sys.exit(f"error: {error}")
    configure_logging()
    _return_freed_memory()
    from serving.metrics import Metrics
    from serving.server import Server
    from serving.transformer import Transformer

    metrics = Metrics(card)
    try:
        Server(Transformer(card, settings, metrics), settings, metrics).run()
    except SettingError as error:
        sys.exit(f"error: {error}")


def _return_freed_memory() -> None:
    """Let glibc map every large block by itself, so that a decoded image's memory goes back to the system at once."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
        libc.mallopt(M_ARENA_MAX, 2)


if __name__ == "__main__":
    main()
