"""The command line of a training, for a hyper-parameter search: Katib's, or `make tune`."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from components.architectures import FIELDS, help_texts, read_config
from components.errors import exit_on_error
from components.hyperparameters import TrainConfig
from components.train.cross_validation import cross_validate
from components.train.train import train
from components.values import parse_value

DESCRIPTION = "Train on the preprocess output. Every hyper-parameter is a flag, with dashes or underscores."
EPILOG = """\
The metrics file gets one line per epoch and metric, in the format of Katib's File collector:
  2026-11-24T15:04:05.123456Z val_auc=0.91
With --cross-validate the steps of cnn are folds: each line is about all images scored so far, the last one about all.
A search that reads it may stop the process at any time.

exit status: 0 trained; 1 invalid shards, folder or value, or a loss that is not finite; 2 an invalid flag.
"""


def parse_flags(command_line: Sequence[str]) -> argparse.Namespace:
    """Read the command line; each hyper-parameter is text or None. An invalid flag ends the process with status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m components.train",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # a search has to learn that it misspelt a flag
    )
    parser.add_argument("--shards", type=Path, required=True, metavar="FOLDER", help="preprocess output")
    parser.add_argument("--model-dir", type=Path, metavar="FOLDER", help="output folder of the SavedModel; default: no export")
    parser.add_argument("--metrics-file", type=Path, metavar="FILE", help="one line per epoch and metric; default: none")
    parser.add_argument("--checkpoint-dir", type=Path, metavar="FOLDER", help="a killed training resumes from it; default: none")
    parser.add_argument(
        "--cache-dir",
        type=Path,
        metavar="FOLDER",
        help="cache of the features of `evidence`, up to 4 GB, for later trainings on the same shards; default: none",
    )
    parser.add_argument(
        "--cross-validate",
        action="store_true",
        help="score every training and validation image by folds: `cnn` is "
        "trained five times, `evidence` always does so; exports nothing",
    )
    group = parser.add_argument_group("hyper-parameters")
    for name, text in help_texts().items():
        kind = type(FIELDS[name].default).__name__.upper()
        group.add_argument(f"--{name.replace('_', '-')}", metavar=kind, help=text.replace("%", "%%"))
    flags = parser.parse_args([_with_dashes(word) for word in command_line])
    if flags.cross_validate and (flags.model_dir or flags.checkpoint_dir):
        parser.error("--cross-validate has no model and no checkpoint: leave out --model-dir and --checkpoint-dir")
    return flags


def config_of_flags(flags: argparse.Namespace) -> TrainConfig:
    """Return the hyper-parameters of the flags, else the architecture's defaults.

    Raises:
        InputError: A value of a wrong type or out of its bounds.
    """
    values = {
        name: parse_value(name, text, field.annotation)
        for name, field in FIELDS.items()
        if (text := getattr(flags, name)) is not None
    }
    return read_config({}, **values)


def main(command_line: Sequence[str]) -> None:
    """Train with the flags of the command line. Invalid input ends the process with one line and status 1."""
    flags = parse_flags(command_line)
    outputs = (flags.model_dir, flags.metrics_file, flags.checkpoint_dir, flags.cache_dir)
    with exit_on_error("train", *filter(None, outputs)):
        config = config_of_flags(flags)
        shared = {"config": config, "cache_dir": flags.cache_dir, "metrics_file": flags.metrics_file}
        if flags.cross_validate:
            metrics = cross_validate(flags.shards, **shared)
            print(f"train: cross-validation, val_auc {metrics['auc']:.4f}, val_loss {metrics['loss']:.4f}")
            return
        result = train(flags.shards, model_dir=flags.model_dir, checkpoint_dir=flags.checkpoint_dir, **shared)
    best = {name: values[result.best_epoch] for name, values in result.history.items()}
    print(f"train: best epoch {result.best_epoch + 1}, val_auc {best['val_auc']:.4f}, val_loss {best['val_loss']:.4f}")


def _with_dashes(word: str) -> str:
    """Write a flag with dashes: the same name has underscores as a key of the pipeline's `hyperparameters`."""
    return re.sub(r"^--[a-z0-9_]+", lambda flag: flag[0].replace("_", "-"), word)


if __name__ == "__main__":
    main(sys.argv[1:])
