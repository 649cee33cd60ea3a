"""The training's command line, for a search of hyper-parameters: Katib's, or `make tune`."""

import argparse
import inspect
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from components.errors import exit_on_input_error
from components.hyperparameters import TrainConfig
from components.train.train import train
from components.values import parse_value

DESCRIPTION = "Train on what the preprocess step wrote. Every hyper-parameter is a flag, dashes or underscores alike."
EPILOG = """\
The metrics file gets a line for every epoch and metric, as Katib's File collector reads it:
  2026-11-24T15:04:05.123456Z val_auc=0.91
An early stopping that reads along may end the process at any time.

exit status: 0 trained; 1 the shards, the folder or a value cannot be used, or the loss was not finite; 2 a flag is wrong.
"""


def parse_flags(command_line: Sequence[str]) -> argparse.Namespace:
    """Read the command line; every field of TrainConfig is text or None. A wrong flag ends the process with status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m components.train",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # a search that misspells a flag has to learn of it
    )
    parser.add_argument("--shards", type=Path, required=True, metavar="FOLDER", help="what preprocess wrote")
    parser.add_argument("--model-dir", type=Path, metavar="FOLDER", help="the SavedModel to write; default: none is exported")
    parser.add_argument("--metrics-file", type=Path, metavar="FILE", help="gets a line for every epoch and metric; default: none")
    parser.add_argument("--checkpoint-dir", type=Path, metavar="FOLDER", help="where a killed training resumes; default: none")
    meanings = _field_docs()
    group = parser.add_argument_group("hyper-parameters")
    for field in fields(TrainConfig):
        flag = f"--{field.name.replace('_', '-')}"
        meaning = f"{meanings[field.name]} default: {str(field.default).lower()}".replace("%", "%%")
        group.add_argument(flag, metavar=type(field.default).__name__.upper(), help=meaning)
    return parser.parse_args([_dashed(word) for word in command_line])


def read_config(flags: argparse.Namespace) -> TrainConfig:
    """Return the hyper-parameters, by default TrainConfig's.

    Raises:
        InputError: a value of another type, or out of its range.
    """
    given: dict[str, Any] = {}
    for field in fields(TrainConfig):
        if (text := getattr(flags, field.name)) is not None:
            given[field.name] = parse_value(field.name, text, type(field.default))
    return TrainConfig(**given)


def main(command_line: Sequence[str]) -> None:
    """Train as the command line says; what cannot be used ends the process with one line and status 1."""
    flags = parse_flags(command_line)
    with exit_on_input_error("train"):
        trained = train(
            flags.shards,
            model_dir=flags.model_dir,
            config=read_config(flags),
            checkpoint_dir=flags.checkpoint_dir,
            metrics_file=flags.metrics_file,
        )
    best = {name: values[trained.best_epoch] for name, values in trained.history.items()}
    print(f"train: epoch {trained.best_epoch + 1} is the best, val_auc {best['val_auc']:.4f}, val_loss {best['val_loss']:.4f}")


def _dashed(word: str) -> str:
    """Write a flag with dashes: as a pipeline's parameter, the same name has underscores."""
    return re.sub(r"^--[a-z0-9_]+", lambda flag: flag[0].replace("_", "-"), word)


def _field_docs() -> dict[str, str]:
    """Return what TrainConfig's docstring says of each field, in one line."""
    text = inspect.cleandoc(TrainConfig.__doc__ or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in found}


if __name__ == "__main__":
    main(sys.argv[1:])
