"""Start the transformer: `python -m serving`."""

import contextlib
import ctypes
import sys

from brain_tumor.errors import InputError
from brain_tumor.model_card import ModelCard, read_model_card
from brain_tumor.settings import read_settings
from serving.logs import configure_logging
from serving.settings import Settings
from serving.signals import exit_on_signals

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of mallopt(3)
LARGE_BLOCK_BYTES = 1024 * 1024


def main() -> None:
    """Read settings and model card, and serve until SIGTERM or SIGINT."""
    exit_on_signals()
    settings = read_settings(Settings, "serving", "Serve the transformer over REST and gRPC.")
    try:
        _serve(settings, read_model_card(settings.model_dir))
    except InputError as error:
        sys.exit(f"error: {error}")


def _serve(settings: Settings, card: ModelCard) -> None:
    configure_logging()
    _return_freed_memory()
    # Slow imports: an invalid setting is reported before them.
    from serving.metrics import Metrics
    from serving.server import Server
    from serving.transformer import Transformer

    metrics = Metrics(card)
    Server(Transformer(card, settings, metrics), settings, metrics).run()


def _return_freed_memory() -> None:
    """Let glibc map each large block separately, so that freeing a decoded image returns its memory to the system."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
        libc.mallopt(M_ARENA_MAX, 2)


if __name__ == "__main__":
    main()
