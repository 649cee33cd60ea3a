"""Start the PACS gateway, or list and retry its dead letters: `python -m serving.dicomweb`."""

import argparse
import signal
import sys
import time
from contextlib import closing

from brain_tumor.errors import InputError
from brain_tumor.settings import describe_settings, read_settings
from serving.dicomweb.rules import read_rules
from serving.dicomweb.settings import Settings
from serving.dicomweb.state import State, exclusive_state
from serving.logs import configure_logging, logger
from serving.signals import SIGNALS

PURPOSE = "Bring MR series from a PACS to the transformer, and its results back."
COLUMNS = ("since", "code", "series", "study", "reason")


def main() -> None:
    """Run the gateway until SIGTERM or SIGINT, or one of the commands."""
    arguments = _parser().parse_args()
    settings = read_settings(Settings, "serving.dicomweb", PURPOSE)
    try:
        if arguments.command == "dead-letters":
            _print_dead_letters(settings)
        elif arguments.command == "retry":
            _retry(settings, None if arguments.all else arguments.uid)
        else:
            _run(settings)
    except InputError as error:
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.dicomweb",
        description=PURPOSE,
        epilog=f"environment variables:\n{describe_settings(Settings)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="{dead-letters,retry}", help="without one the gateway runs")
    commands.add_parser("dead-letters", help="print the series that failed for good, with their UIDs")
    retry = commands.add_parser("retry", help="queue dead letters again")
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument("uid", nargs="?", help="series UID of one")
    which.add_argument("--all", action="store_true", help="all of them")
    return parser


def _print_dead_letters(settings: Settings) -> None:
    with closing(State(settings.state, create=False)) as state:
        print("\t".join(COLUMNS))
        for series in state.dead_letters():
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(series.changed))
            print("\t".join((since, str(series.code), series.series_uid, series.study_uid, str(series.reason))))


def _retry(settings: Settings, series_uid: str | None) -> None:
    with closing(State(settings.state, create=False)) as state:
        count = state.retry(series_uid, time.time())
    if series_uid and not count:
        raise InputError("no dead letter has this series UID: the command dead-letters lists them")
    print(f"queued again: {count}")


def _run(settings: Settings) -> None:
    for number in SIGNALS:
        signal.signal(number, lambda *_: sys.exit())  # what was under way is attempted again at the next start
    rules = read_rules(settings.rules)
    with exclusive_state(settings.state) as state:
        configure_logging()
        # Slow imports: an invalid setting is reported before them.
        from serving.dicomweb.gateway import Gateway
        from serving.dicomweb.metrics import Metrics, serve_metrics

        metrics = Metrics()
        try:
            serve_metrics(metrics, settings.metrics_port)
        except OSError as error:
            raise InputError(f"METRICS_PORT: got {settings.metrics_port}, expected a free port: {error.strerror}") from None
        logger.info("started", extra={"fields": {"rules": len(rules)}})
        Gateway(settings, rules, state, metrics).run()


if __name__ == "__main__":
    main()
