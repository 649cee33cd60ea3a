"""What a run keeps of its steps, and what a failed one keeps so that its model can still be registered."""

import json
from pathlib import Path
from typing import Any

from components.errors import describe_disk_error
from components.registry.commands import register_command, registry_command
from pipelines.local.run_summary import REGISTERED
from pipelines.local.steps import step_output
from pipelines.local.unfinished import read_registered

# Artifacts that a run keeps: name in the run's folder -> task and output.
RUN_ARTIFACTS = {
    "report.html": "evaluate/report",
    "metrics.json": "evaluate/evaluation",
    "ingest.html": "ingest/report",
    "images.zip": "ingest/images",
    "manifest.csv": "ingest/manifest",
    "splits.csv": "preprocess/splits",
    "tensorboard": "train/logs",
}


def keep_artifacts(folder: Path) -> None:
    """Keep the artifacts and the registered version, or the model itself if it was not promoted: then it is in no store."""
    outputs = folder / "steps"
    for name, output in RUN_ARTIFACTS.items():
        step_output(outputs, output).rename(folder / name)
    if registered := registered_file(outputs):
        registered.rename(folder / REGISTERED)
    else:
        step_output(outputs, "train/model").rename(folder / "refused-model")


def registered_file(outputs: Path) -> Path | None:
    """Return the file with the registered version; None if the register step did not run or did not complete it."""
    return next((path for path in outputs.glob("*/register/registered") if read_registered(path)), None)


def keep_failure(partial: Path, failed: Path, arguments: dict[str, Any]) -> list[str]:
    """Keep the log of a failed run, and its model with all artifacts if there is one; return lines about them."""
    try:
        failed.mkdir()
        (partial / "run.log").rename(failed / "run.log")
        for model in (*partial.glob("steps/*/train/model"), *partial.glob("refused-model")):
            model.rename(failed / "model")
        if not (failed / "model").exists():
            return [f"log kept in {failed}"]
        for name, output in RUN_ARTIFACTS.items():
            for artifact in (*partial.glob(name), *partial.glob(f"steps/*/{output}")):
                artifact.rename(failed / name)
    except OSError as error:
        return [f"log and model are lost: {describe_disk_error(error, failed) or error.strerror}"]
    return [f"log and model kept in {failed}", *how_to_register(failed, arguments)]


def how_to_register(failed: Path, arguments: dict[str, Any]) -> list[str]:
    """Return the commands that evaluate and register the model of a failed run; none if it did not pass the gate."""
    options = {"--model": failed / "model", "--evaluation": failed / "metrics.json"}
    shared = [str(word) for option in options.items() for word in option]
    commands = [register_command(arguments["model_store"], arguments["tracking_uri"], *shared)]
    if not (failed / "metrics.json").exists():
        commands.insert(0, _evaluate_command(failed, arguments, shared))
    elif not json.loads((failed / "metrics.json").read_text())["verdict"]["passed"]:
        return []
    return ["once the cause is mended, register the model with:", *(f"  {command}" for command in commands)]


def _evaluate_command(failed: Path, arguments: dict[str, Any], shared: list[str]) -> str:
    paths = {"--images": "images.zip", "--splits": "splits.csv", "--report": "report.html"}
    words = [str(word) for option, name in paths.items() for word in (option, failed / name)]
    for name in ("min_auc", "min_recall", "min_class_images", "seed"):
        if name in arguments:
            words += [f"--{name.replace('_', '-')}", str(arguments[name])]
    if arguments.get("allow_unreadable_champion"):
        words.append("--allow-unreadable-champion")
    return registry_command("components.evaluate", [*shared, *words], arguments["tracking_uri"])
