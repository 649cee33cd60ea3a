"""Register a model by hand, one that a failed run kept or those of a lost registry: `python -m components.register`."""

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from brain_tumor.errors import InputError
from brain_tumor.model_card import NOTICE, read_model_card
from components.errors import exit_on_error
from components.files import file_lock
from components.register.register import register
from components.register.restore import restore
from components.registry import connect
from components.registry_file import registry_folder

EPILOG = f"""\
Without --model every version in the store that the registry does not know is registered, and the last one is made the champion.

{NOTICE}
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    top = argparse.ArgumentParser(
        prog="python -m components.register",
        description="Register a model and make it the champion.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--model", type=Path, metavar="FOLDER", help="a model that a failed run kept")
    top.add_argument("--evaluation", type=Path, metavar="FILE", help="its metrics.json, by which it passed the gate")
    top.add_argument("--model-store", required=True, metavar="STORE", help="a folder, or a URI (s3, gs) for --model")
    top.add_argument("--tracking-uri", default="", metavar="URI", help="the registry; default: MLFLOW_TRACKING_URI")
    return top


def main() -> None:
    """Register what the options name and make it the champion."""
    top = parser()
    options = top.parse_args()
    if bool(options.model) != bool(options.evaluation):
        top.error("--model and --evaluation belong together")
    with exit_on_error("register", options.model_store):
        client = connect(options.tracking_uri)
        with _exclusive(client.tracking_uri):
            if options.model is None:
                versions = restore(client, options.model_store)
                print(f"register: registered {len(versions)} stored versions: {', '.join(map(str, versions))}")
                return
            _check_evaluation(options.model, options.evaluation)
            register(options.model, options.evaluation, model_store=options.model_store, tracking_uri=options.tracking_uri)


@contextlib.contextmanager
def _exclusive(tracking_uri: str) -> Iterator[None]:
    """Lock the folder of a SQLite registry as a run on this machine does."""
    folder = registry_folder(tracking_uri)
    if folder is None:
        yield
        return
    with file_lock(folder / ".lock") as lock:
        if lock is None:
            raise InputError(f"{folder}: a run is in progress; wait for it")
        yield


def _check_evaluation(model: Path, evaluation: Path) -> None:
    """Raise InputError if the evaluation is not one that a model of these classes passed."""
    try:
        result = json.loads(evaluation.read_text())
        classes, reasons = result["classes"], result["verdict"]["reasons"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{evaluation}: got {error!r}, expected the metrics.json of a run") from error
    if list(classes) != list(read_model_card(model).classes):
        raise InputError(f"{evaluation}: got classes {', '.join(classes)}, expected those of the model")
    if reasons:
        raise InputError(f"{evaluation}: the model did not pass the gate: {'; '.join(reasons)}")


if __name__ == "__main__":
    main()
