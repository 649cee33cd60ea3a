"""Search the hyper-parameters on this machine: `python -m pipelines.tuning.tune --source FOLDER --trials 20`."""

import argparse
import datetime
import signal
import sys
import tempfile
from dataclasses import asdict, fields
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
from pipelines.parameters import add_parameter_options, parse_parameters
from pipelines.tuning.figure import draw_search
from pipelines.tuning.search import EPOCH, ERROR, SEARCH_SPACE, format_value, run_trial

SHOWN = 5
SHARES = ("test_share", "validation_share")
EPILOG = f"""\
searched, unless --set gives a value: {", ".join(SEARCH_SPACE)}

Images are brought in and split once. A trial is a training of its own; it is ended early where, from its fifth epoch on, the
others' median was better. The first has the default parameters. What is found was chosen on the validation part: how good it is,
the held-out part says, when the pipeline runs with it.
"""


def search(source: str, folder: Path, *, trials: int, settings: dict[str, Any]) -> optuna.Study:
    """Bring the images in, then try hyper-parameters on them; the study stays in `folder`, the images do not.

    Args:
        source: see the ingest step.
        folder: of this search.
        trials: how many.
        settings: hyper-parameters that are not searched, and the shares of the split.

    Raises:
        InputError: the source or a setting cannot be used.
    """
    shares = {name: settings[name] for name in SHARES if name in settings}
    fixed = {name: value for name, value in settings.items() if name not in SHARES}
    seed = fixed.setdefault("seed", TrainConfig.seed)
    space = {name: values for name, values in SEARCH_SPACE.items() if name not in fixed}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder}/study.db",
        study_name="brain-tumor",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=4),
    )
    study.enqueue_trial({name: value for name, value in asdict(TrainConfig()).items() if name in space})
    with tempfile.TemporaryDirectory(dir=folder) as data:
        shards = _ingest_and_split(source, Path(data).resolve(), seed=seed, **shares)
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
    return f"ended early after epoch {epoch}" if trial.state == TrialState.PRUNED else f"failed: {trial.user_attrs[ERROR]}"


def ranking(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that were trained to their end, the best first."""
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))


def table(trials: list[FrozenTrial]) -> str:
    """Return a line a trial: what it came to and its hyper-parameters."""
    names = [name for name in SEARCH_SPACE if name in trials[0].params]
    rows = [["trial", "val_auc", "epoch", *names]]
    for trial in trials:
        values = [format_value(trial.params[name]) for name in names]
        rows.append([str(trial.number), f"{trial.value:.4f}", str(trial.user_attrs[EPOCH]), *values])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def _settings(given: list[str]) -> dict[str, Any]:
    settings = parse_parameters(given)
    known = {field.name for field in fields(TrainConfig)} | set(SHARES)
    for name in settings:
        if name not in known:
            raise InputError(f"{name} has no part in a search, wanted one of {', '.join(sorted(known))}")
    return settings


def main() -> int:
    """Search hyper-parameters with Optuna, print the best ones and draw the search."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.tuning.tune",
        description=main.__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_parameter_options(parser, source_help="a folder, an archive or an address")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of all runs; default: %(default)s")
    parser.add_argument("--trials", type=int, default=20, help="default: %(default)s")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the images go and the training ends with it, as at Ctrl-C
    folder = options.runs / "tune" / datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    try:
        if options.trials < 1:
            raise InputError(f"trials is {options.trials}, wanted 1 or more")
        settings = _settings(options.set)
        folder.mkdir(parents=True)
        study = search(options.source, folder, trials=options.trials, settings=settings)
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or folder}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit(130)
    best = ranking(study)
    if not best:
        sys.exit(f"no trial was trained to its end: what they said is in {folder}")
    _report_results(best, study, folder, options.source, settings)
    return 0


def _report_results(best: list[FrozenTrial], study: optuna.Study, folder: Path, source: str, settings: dict[str, Any]) -> None:
    shown = redact_credentials(source)
    draw_search(study.trials, folder / "search.png", title=f"{len(study.trials)} trials on {shown}")
    flags = " ".join(f"--set {name}={format_value(value)}" for name, value in (settings | best[0].params).items())
    print(f"\n{table(best[:SHOWN])}\n\n  the best: {flags}")
    print(f"  the pipeline with it: .venv/bin/python -m pipelines.local.run --source '{shown}' {flags}")
    print(f"  image: {folder / 'search.png'}\n\n  {NOTICE}")


if __name__ == "__main__":
    sys.exit(main())
