"""Run the pipeline on this machine: `python -m pipelines.run --source FOLDER`."""

import argparse
import contextlib
import datetime
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.errors import InputError
from components.files import written_whole
from pipelines.classify import classify_held_out
from pipelines.closing import closing_table
from pipelines.compile import compile_pipeline
from pipelines.pipeline import brain_tumor
from pipelines.step_log import StepLog

# What a run leaves to look at: name in the run's folder, and the task and output it comes from.
KEPT = {
    "report.html": "evaluate/report",
    "metrics.json": "evaluate/evaluation",
    "ingest.html": "ingest/report",
    "images.zip": "ingest/images",
    "manifest.csv": "ingest/manifest",
    "splits.csv": "preprocess/splits",
    "tensorboard": "train/logs",
    "summary.md": "summary/text",
}
TRUTH = {"true": True, "false": False}
PARSERS: dict[str, Callable[[str], Any]] = {
    "String": str,
    "Integer": int,
    "Float": float,
    "Boolean": lambda text: TRUTH[text.lower()],
}


def run(runs: Path, arguments: dict[str, Any]) -> Path:
    """Run the pipeline, keep what a person looks at, and point `runs/latest` at it.

    Args:
        runs: the folder of all runs; store and registry are in it.
        arguments: the pipeline's parameters.

    Returns:
        The run's folder: `runs/<time>`.

    Raises:
        RuntimeError: a step failed; it has said why, and `runs/latest` still points at the run before.
    """
    started = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    folder, failed = runs / started, runs / f"{started}-failed"
    with written_whole(folder) as partial:
        outputs = partial / "steps"
        outputs.mkdir(parents=True)
        compile_pipeline(partial / "pipeline.yaml")
        try:
            _run_steps(outputs, partial / "run.log", arguments)
        except RuntimeError as error:
            failed.mkdir()
            (partial / "run.log").rename(failed / "run.log")
            raise RuntimeError(f"{error}\nall that was said: {failed / 'run.log'}") from error
        for name, output in KEPT.items():
            _output(outputs, output).rename(partial / name)
        _keep_model(outputs, partial)
        shutil.rmtree(outputs)
    _point_latest(runs, folder)
    return folder


def _run_steps(outputs: Path, log_path: Path, arguments: dict[str, Any]) -> None:
    from kfp import local

    # Every step is a process of its own: it finds the repository, and keeps TensorFlow's start-up lines to itself.
    root = str(Path(__file__).parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(outputs))
    with log_path.open("w", encoding="utf-8") as file, warnings.catch_warnings():
        # The runner warns that it uses neither the image nor the accelerator.
        warnings.filterwarnings("ignore", module=r"kfp\.local")
        log = StepLog(file)
        try:
            with contextlib.redirect_stdout(log):
                brain_tumor(**arguments)
        except RuntimeError as error:
            step = re.sub(r"\x1b\[\d+m", "", str(error)).partition("Inner task failed: ")[2].split("'")[1]
            raise RuntimeError("\n".join([f"{step} failed", *log.tail])) from error


def _defaults_here(runs: Path) -> dict[str, Any]:
    return {"model_store": str(runs / "models"), "tracking_uri": _registry(runs), "gpus": 0}


def _registry(runs: Path) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(runs / 'mlflow.db').resolve()}"


def _output(outputs: Path, name: str) -> Path:
    """Return what a task wrote; the runner puts it into <outputs>/<pipeline run>/<task>/<output>."""
    found = list(outputs.glob(f"*/{name}"))
    if len(found) != 1:
        raise RuntimeError(f"the run left {len(found)} outputs named {name}, wanted 1")
    return found[0]


def _keep_model(outputs: Path, folder: Path) -> None:
    """Note what was registered; a model that was refused is in no store, so it is kept with the run."""
    registered = list(outputs.glob("*/register/registered"))
    if registered:
        registered[0].rename(folder / "registered.json")
    else:
        _output(outputs, "train/model").rename(folder / "refused-model")


def _point_latest(runs: Path, folder: Path) -> None:
    link = runs / ".latest.partial"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    link.replace(runs / "latest")


def main() -> int:
    """Run the pipeline and print what it came to. A model that the gate refuses is a run that succeeded."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.run", description=main.__doc__)
    parser.add_argument("--source", default="synthetic://", help="a folder, an archive or an address; default: %(default)s")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of all runs; default: %(default)s")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the pipeline; may be repeated"
    )
    parser.add_argument(
        "--classify",
        type=int,
        default=0,
        metavar="N",
        help="then classify N held-out pictures with the champion; default: %(default)s",
    )
    options = parser.parse_args()
    try:
        arguments = _defaults_here(options.runs) | {"source": options.source} | parse_parameters(options.set)
        folder = run(options.runs, arguments)
        print(closing_table(folder), flush=True)
        return classify_held_out(folder, options.classify, tracking_uri=arguments["tracking_uri"]) if options.classify else 0
    except InputError as error:
        sys.exit(f"error: {error}")
    except RuntimeError as error:
        sys.exit(f"the run failed: {error}")


def parse_parameters(settings: list[str]) -> dict[str, Any]:
    """Turn `name=value` settings into arguments of the type that the pipeline declares.

    Raises:
        InputError: no such parameter, or a value of another type.
    """
    declared = brain_tumor.component_spec.inputs
    arguments: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in declared:
            raise InputError(f"no such parameter: {setting!r}, wanted NAME=VALUE with one of {', '.join(sorted(declared))}")
        kind = declared[name].type
        try:
            arguments[name] = PARSERS[kind](text)
        except (KeyError, ValueError) as error:
            raise InputError(f"{name} is {text!r}, wanted {kind.lower()}") from error
    return arguments


if __name__ == "__main__":
    sys.exit(main())
