"""Start the transformer: `python -m serving`."""

import os
import sys

from serving.card import CardError, read_card
from serving.logs import configure_logging
from serving.settings import SettingError, Settings


def main() -> None:
    """Read settings and card, and serve until SIGTERM."""
    try:
        settings = Settings.from_environment(os.environ)
        card = read_card(settings.model_dir)
    except (SettingError, CardError) as error:
        sys.exit(f"error: {error}")
    configure_logging()
    from serving.metrics import Metrics
    from serving.server import Server
    from serving.transformer import Transformer

    metrics = Metrics(card)
    try:
        Server(Transformer(card, settings, metrics), settings, metrics).run()
    except SettingError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
