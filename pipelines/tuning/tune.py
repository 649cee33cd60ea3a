"""Search the hyper-parameters on this machine: `python -m pipelines.tuning.tune --source FOLDER --trials 20`."""

import argparse
import datetime
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from brain_tumor.errors import InputError
from brain_tumor.model_card import NOTICE
from components.architectures import DEFAULT, FIELDS, read_config
from components.errors import exit_on_error
from components.files import check_writable
from components.hyperparameters import TrainConfig
from components.ingest.ingest import ingest
from components.preprocess.preprocess import preprocess
from components.registry import runs_folder
from components.saved_model import import_tensorflow_quietly
from components.uris import redact_credentials, sqlite_uri
from components.values import unknown_name
from pipelines.local.processes import stop_as_at_ctrl_c
from pipelines.local.scratch import scratch_folder
from pipelines.parameters import HYPERPARAMETERS, add_parameter_options, parse_parameters
from pipelines.tuning.figure import draw_search
from pipelines.tuning.search import ERROR, SEARCH_SPACES, SearchSpace, format_value, run_trial, searched

SHOWN_TRIALS = 5
DATA_PARAMETERS = ("ignore_folders", "patient_pattern", "test_share", "validation_share")
EPILOG = f"""\
searched, unless --set gives a value:
{chr(10).join(f"  {name:<10}{', '.join(space)}" for name, space in SEARCH_SPACES.items())}
`--set architecture=cnn` searches those of cnn; the default is {DEFAULT}.

The images are ingested and split once. A trial's result is the ROC-AUC over the training and validation images, each scored by a
network that was not taught its fold, one of five by group: evidence does so in one training, cnn is trained once a fold. Trials
of evidence share the features of the images, which the first one computes. A trial below the median of the others is pruned, of
evidence in the second half of its epochs, of cnn from its second fold on. The first trial has the default hyper-parameters. The
best of many trials looks better than it is: run the pipeline with its hyper-parameters to measure it on the held-out test set.
"""


def search(
    source: str, folder: Path, *, trials: int, config: TrainConfig, fixed: Mapping[str, Any], data: Mapping[str, Any]
) -> optuna.Study:
    """Ingest the images, then search hyper-parameters; `folder` keeps the study, but neither images nor features.

    Args:
        source: Source of the images, as for the ingest step.
        folder: Folder of this search.
        trials: Number of trials.
        config: Hyper-parameters of the first trial.
        fixed: Those that are not searched, by name.
        data: Parameters of ingest and split, by name.

    Raises:
        InputError: The source is invalid.
    """
    space = searched(config, fixed)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with scratch_folder(folder) as (scratch, lock):
        shards = _ingest_and_split(source, scratch, seed=config.seed, **data)
        study = optuna.create_study(
            storage=sqlite_uri(folder / "study.db"),
            study_name="brain-tumor",
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=config.seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        )
        study.enqueue_trial(config.model_dump(include=set(space)))
        try:
            for number in range(trials):
                trial = study.ask(space)
                log = folder.resolve() / f"trial-{number}.log"
                run_trial(study, trial, shards=shards, scratch=scratch, config=config, fixed=fixed, log=log, pass_fds=[lock])
                print(f"tune: trial {number + 1} of {trials}: {_outcome(study.trials[number], config)}", flush=True)
        except KeyboardInterrupt:
            print("\ntune: interrupted", file=sys.stderr)
    return study


def _ingest_and_split(source: str, folder: Path, *, ignore_folders: str = "", patient_pattern: str = "", **split: Any) -> Path:
    """Ingest and preprocess into a folder; return the shards."""
    images, manifest, shards = folder / "images.zip", folder / "manifest.csv", folder / "shards"
    outputs = {"images_zip": images, "manifest_csv": manifest, "report_html": folder / "ingest.html"}
    ingest(source, ignore_folders=ignore_folders, patient_pattern=patient_pattern, **outputs)
    import_tensorflow_quietly()
    preprocess(images, manifest, shards=shards, splits_csv=folder / "splits.csv", **split)
    return shards


def _outcome(trial: FrozenTrial, config: TrainConfig) -> str:
    if trial.state == TrialState.COMPLETE:
        return f"val_auc {trial.value:.4f}"
    if trial.state == TrialState.PRUNED:
        step, last = "epoch" if config.scores_by_fold else "fold", max(trial.intermediate_values)
        return f"pruned after {step} {last + 1}, val_auc {trial.intermediate_values[last]:.4f}"
    return f"failed: {trial.user_attrs[ERROR]}"


def ranking(study: optuna.Study) -> list[FrozenTrial]:
    """Return the completed trials, the best first."""
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))


def table(trials: Sequence[FrozenTrial], names: Collection[str]) -> str:
    """Return one line per trial: its result and its hyper-parameters of some names."""
    rows = [["trial", "val_auc", *names]]
    for trial in trials:
        rows.append([str(trial.number), f"{trial.value:.4f}", *(format_value(trial.params[name]) for name in names)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def _parse_settings(settings: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fixed hyper-parameters and the parameters of ingest and split."""
    arguments = parse_parameters(settings)
    data = {name: arguments.pop(name) for name in DATA_PARAMETERS if name in arguments}
    fixed = arguments.pop(HYPERPARAMETERS, {}) | arguments
    for name in fixed:
        if name not in FIELDS:
            raise unknown_name("--set of a search", name, [*DATA_PARAMETERS, *FIELDS])
    return fixed, data


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.tuning.tune",
        description=main.__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_parameter_options(parser, source_help="a folder, an archive or a URI")
    parser.add_argument("--runs", type=runs_folder, default=Path("runs"), help="the folder of all runs; default: %(default)s")
    parser.add_argument("--trials", type=int, default=20, help="number of trials; default: %(default)s")
    return parser


def main() -> int:
    """Search hyper-parameters with Optuna, print the best ones and draw the search."""
    options = _parser().parse_args()
    stop_as_at_ctrl_c()
    folder = options.runs / "tune" / datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    try:
        with exit_on_error("", folder):
            if options.trials < 1:
                raise InputError(f"trials: got {options.trials}, expected 1 or more")
            check_writable(options.runs)
            fixed, data = _parse_settings(options.set)
            config = read_config({}, **fixed)
            study = search(options.source, folder, trials=options.trials, config=config, fixed=fixed, data=data)
    except KeyboardInterrupt:
        sys.exit(130)
    best = ranking(study)
    if not best:
        sys.exit(f"no trial completed: see the logs in {folder}")
    space = searched(config, fixed)
    title = f"{len(study.trials)} trials of {config.architecture} on {redact_credentials(options.source)}"
    with exit_on_error("", folder):
        draw_search(study.trials, space, folder / "search.png", title=title)
    _print_results(best, space, folder, options.source, fixed | data)
    return 0


def _print_results(best: list[FrozenTrial], space: SearchSpace, folder: Path, source: str, settings: dict[str, Any]) -> None:
    shown = redact_credentials(source)
    flags = " ".join(
        f"--set {shlex.quote(f'{name}={format_value(value)}')}" for name, value in (settings | best[0].params).items()
    )
    print(f"\n{table(best[:SHOWN_TRIALS], space)}\n\n  best: {flags}")
    print(f"  run the pipeline with it: .venv/bin/python -m pipelines.local.run --source {shlex.quote(shown)} {flags}")
    print(f"  figure: {folder / 'search.png'}\n\n  {NOTICE}")


if __name__ == "__main__":
    sys.exit(main())
