"""Cross-validate an architecture on this machine: `python -m pipelines.cross_validation --source FOLDER`."""

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from brain_tumor.errors import InputError
from components.architectures import read_config
from components.errors import exit_on_error
from components.files import atomic_write, check_writable
from components.hyperparameters import TrainConfig
from components.registry import runs_folder
from components.saved_model import import_tensorflow_quietly
from components.uris import is_local_path
from components.values import printable
from pipelines.cross_validation.cross_validation import CrossValidation
from pipelines.cross_validation.data import ingest_set, read_external
from pipelines.cross_validation.page import render_page, text_table
from pipelines.local.processes import stop_as_at_ctrl_c
from pipelines.local.scratch import scratch_folder
from pipelines.parameters import HYPERPARAMETERS, add_parameter_options, parse_parameters

EPILOG = """\
Every image is predicted by a model that was trained without its group of near copies, through the graph that serves it; the
predictions of all folds are pooled, and the scores averaged over the seeds of the folds. Whatever is chosen or fitted (threshold,
temperature, conformal sets, distance) is fitted within the training images of a fold. External sets are predicted by one model
trained on all images. An interrupted command continues where it stopped. It writes cv.json and cv.html.
"""
MAX_SLUG = 60  # characters


def parse_settings(settings: list[str]) -> tuple[TrainConfig, dict[str, str]]:
    """Return the hyper-parameters of `--set` and the parameters of ingest.

    Raises:
        InputError: A name that is no hyper-parameter, or an invalid value.
    """
    arguments = parse_parameters(settings)
    overrides = arguments.pop(HYPERPARAMETERS, {})
    of_ingest = {name: arguments.pop(name, "") for name in ("ignore_folders", "patient_pattern")}
    if other := sorted(arguments.keys() - {"seed"}):
        raise InputError(f"--set: got {other[0]}, expected a hyper-parameter")
    return read_config(overrides, **arguments), of_ingest


def cross_validate(options: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """Run the cross-validation and write cv.json and cv.html; return the scores and their folder.

    Raises:
        InputError: A source or a value is invalid.
    """
    for name, minimum in (("folds", 2), ("seeds", 1)):
        if getattr(options, name) < minimum:
            raise InputError(f"{name}: got {getattr(options, name)}, expected {minimum} or more")
    check_writable(options.runs)
    config, of_ingest = parse_settings(options.set)
    sources = [source for source in options.external.split(",") if source]
    for source in sources:
        if is_local_path(source) and not Path(source).expanduser().exists():
            raise InputError(f"external: no such folder or archive: {source}; expected sources separated by commas")
    slug = re.sub(r"\W+", "-", options.source.rstrip("/").rsplit("/", 1)[-1]).strip("-")[:MAX_SLUG]
    folder = options.runs / "cv" / f"{slug}-{hashlib.sha256(options.source.encode()).hexdigest()[:8]}"
    with scratch_folder(folder):
        import_tensorflow_quietly()
        images = ingest_set(options.source, folder, **of_ingest)
        external = [read_external(source, images.classes, ignore_folders=of_ingest["ignore_folders"]) for source in sources]
        validation = CrossValidation(images, folder, config, folds=options.folds, seeds=options.seeds)
        scores = validation.run(external)
    with atomic_write(validation.predictions / "cv.json") as partial:
        partial.write_text(json.dumps(scores, indent=1, allow_nan=False) + "\n")
    with atomic_write(validation.predictions / "cv.html") as partial:
        partial.write_text(render_page(scores, validation))
    return scores, validation.predictions


def main() -> int:
    """Cross-validate an architecture, print its scores beside baselines, and write cv.json and cv.html."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.cross_validation",
        description=main.__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_parameter_options(parser, source_help="a folder, an archive or a URI")
    parser.add_argument(
        "--external", type=printable, default="", metavar="SOURCE,...", help="further sets to test on; default: none"
    )
    parser.add_argument("--folds", type=int, default=5, help="number of folds; default: %(default)s")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of the folds; default: %(default)s")
    parser.add_argument("--runs", type=runs_folder, default=Path("runs"), help="the folder of all runs; default: %(default)s")
    options = parser.parse_args()
    stop_as_at_ctrl_c()
    try:
        with exit_on_error("", options.runs / "cv"):
            scores, folder = cross_validate(options)
    except KeyboardInterrupt:
        print("\ninterrupted: the same command continues", file=sys.stderr)
        return 130
    print(f"\n{text_table(scores)}\n\n  page: {folder / 'cv.html'}\n  every score: {folder / 'cv.json'}\n\n  {scores['notice']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
