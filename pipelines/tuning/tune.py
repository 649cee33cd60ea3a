"""Search the hyper-parameters on this machine: `python -m pipelines.tuning.tune --source FOLDER --trials 20`."""

import argparse
import datetime
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from brain_tumor.errors import InputError
from brain_tumor.model_card import NOTICE
from components.hyperparameters import TrainConfig
from components.ingest.ingest import ingest
from components.preprocess.preprocess import preprocess
from components.saved_model import import_tensorflow_quietly
from components.uris import redact_credentials
from components.values import unknown_name
from pipelines.parameters import HYPERPARAMETERS, add_parameter_options, parse_parameters
from pipelines.tuning.figure import draw_search
from pipelines.tuning.search import EPOCH, ERROR, SEARCH_SPACE, format_value, run_trial

SHOWN_TRIALS = 5
SPLIT_FRACTIONS = ("test_share", "validation_share")
EPILOG = f"""\
searched, unless --set gives a value: {", ".join(SEARCH_SPACE)}

The images are ingested and split once. Each trial is one training. From its fifth epoch on, a trial below the median of the
others is pruned. The first trial has the default hyper-parameters. The best trial was selected on the validation split: run the
pipeline with its hyper-parameters to measure it on the held-out test set.
"""


def search(source: str, folder: Path, *, trials: int, fixed: Mapping[str, Any], split: Mapping[str, float]) -> optuna.Study:
    """Ingest the images, then search hyper-parameters; `folder` keeps the study, but not the images.

    Args:
        source: Source of the images, as for the ingest step.
        folder: Folder of this search.
        trials: Number of trials.
        fixed: Hyper-parameters that are not searched, by name.
        split: Fractions of the split, by parameter name.

    Raises:
        InputError: The source is invalid.
    """
    seed = fixed.get("seed", TrainConfig().seed)
    space = {name: values for name, values in SEARCH_SPACE.items() if name not in fixed}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder}/study.db",
        study_name="brain-tumor",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=4),
    )
    study.enqueue_trial(TrainConfig().model_dump(include=set(space)))
    with tempfile.TemporaryDirectory(dir=folder) as data:
        shards = _ingest_and_split(source, Path(data).resolve(), seed=seed, **split)
        try:
            for number in range(trials):
                trial = study.ask(space)
                run_trial(study, trial, shards=shards, fixed=fixed, log=folder.resolve() / f"trial-{number}.log")
                print(f"tune: trial {number + 1} of {trials}: {_outcome(study.trials[number])}", flush=True)
        except KeyboardInterrupt:
            print("\ntune: interrupted", file=sys.stderr)
    return study


def _ingest_and_split(source: str, folder: Path, **split: Any) -> Path:
    """Ingest and preprocess into a folder; return the shards."""
    images, manifest, shards = folder / "images.zip", folder / "manifest.csv", folder / "shards"
    ingest(source, images_zip=images, manifest_csv=manifest, report_html=folder / "ingest.html")
    import_tensorflow_quietly()
    preprocess(images, manifest, shards=shards, splits_csv=folder / "splits.csv", **split)
    return shards


def _outcome(trial: FrozenTrial) -> str:
    epoch = trial.user_attrs.get(EPOCH)
    if trial.state == TrialState.COMPLETE:
        return f"val_auc {trial.value:.4f} at epoch {epoch}"
    return f"pruned after epoch {epoch}" if trial.state == TrialState.PRUNED else f"failed: {trial.user_attrs[ERROR]}"


def ranking(study: optuna.Study) -> list[FrozenTrial]:
    """Return the completed trials, the best first."""
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))


def table(trials: list[FrozenTrial]) -> str:
    """Return one line per trial: its result and its hyper-parameters."""
    names = [name for name in SEARCH_SPACE if name in trials[0].params]
    rows = [["trial", "val_auc", "epoch", *names]]
    for trial in trials:
        values = [format_value(trial.params[name]) for name in names]
        rows.append([str(trial.number), f"{trial.value:.4f}", str(trial.user_attrs[EPOCH]), *values])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def _parse_settings(settings: list[str]) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the fixed hyper-parameters and the fractions of the split."""
    arguments = parse_parameters(settings)
    split = {name: arguments.pop(name) for name in SPLIT_FRACTIONS if name in arguments}
    fixed = arguments.pop(HYPERPARAMETERS, {}) | arguments
    for name in fixed:
        if name not in TrainConfig.model_fields:
            raise unknown_name("--set of a search", name, [*SPLIT_FRACTIONS, *TrainConfig.model_fields])
    return fixed, split


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.tuning.tune",
        description=main.__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_parameter_options(parser, source_help="a folder, an archive or a URI")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of all runs; default: %(default)s")
    parser.add_argument("--trials", type=int, default=20, help="number of trials; default: %(default)s")
    return parser


def main() -> int:
    """Search hyper-parameters with Optuna, print the best ones and draw the search."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as at Ctrl-C: removes the images and ends the training
    folder = options.runs / "tune" / datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    try:
        if options.trials < 1:
            raise InputError(f"trials: got {options.trials}, expected 1 or more")
        fixed, split = _parse_settings(options.set)
        folder.mkdir(parents=True)
        study = search(options.source, folder, trials=options.trials, fixed=fixed, split=split)
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or folder}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit(130)
    best = ranking(study)
    if not best:
        sys.exit(f"no trial completed: see the logs in {folder}")
    _report_results(best, study, folder, options.source, fixed | split)
    return 0


def _report_results(best: list[FrozenTrial], study: optuna.Study, folder: Path, source: str, settings: dict[str, Any]) -> None:
    shown = redact_credentials(source)
    draw_search(study.trials, folder / "search.png", title=f"{len(study.trials)} trials on {shown}")
    flags = " ".join(f"--set {name}={format_value(value)}" for name, value in (settings | best[0].params).items())
    print(f"\n{table(best[:SHOWN_TRIALS])}\n\n  best: {flags}")
    print(f"  run the pipeline with it: .venv/bin/python -m pipelines.local.run --source '{shown}' {flags}")
    print(f"  figure: {folder / 'search.png'}\n\n  {NOTICE}")


if __name__ == "__main__":
    sys.exit(main())
