"""One trial of a search: a training as a process of its own, pruned if it is worse than the other trials."""

import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from components.uris import redact_credentials

POLL_SECONDS = 0.3
# The searched hyper-parameters and their ranges. A choice that changes the architecture, such as the head, is left to a person.
SEARCH_SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-4, 3e-3, log=True),
    "dropout": FloatDistribution(0.2, 0.7),
    "l2": FloatDistribution(1e-6, 1e-2, log=True),
    "filters": CategoricalDistribution((16, 32, 48)),
    "dense_units": CategoricalDistribution((64, 128, 256)),
    "batch_size": CategoricalDistribution((8, 16, 32)),
    "rotation_deg": FloatDistribution(0.0, 30.0),
    "zoom": FloatDistribution(0.0, 0.2),
}
EPOCH, ERROR = "epoch", "error"  # user attributes of a trial


def run_trial(study: optuna.Study, trial: optuna.Trial, *, shards: Path, fixed: Mapping[str, Any], log: Path) -> None:
    """Train with a trial's hyper-parameters and report the result to the study.

    A trial's value is the ROC-AUC on the validation split at the epoch of the lowest loss, whose weights a training keeps.

    Args:
        study: Study that created the trial.
        trial: Trial with its hyper-parameters in `params`.
        shards: Preprocess output.
        fixed: Hyper-parameters that are not searched, by name.
        log: Output file of the training's log; the metrics go to a file next to it.
    """
    metrics = log.with_suffix(".metrics")
    flags = [f"--{name}={format_value(value)}" for name, value in (dict(fixed) | trial.params).items()]
    command = [sys.executable, "-m", "components.train", "--shards", str(shards), "--metrics-file", str(metrics), *flags]
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        pruned = _report_epochs(trial, process, metrics)
    finally:
        process.terminate()
        process.wait()
    if pruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return
    if process.returncode:
        lines = log.read_text().strip().splitlines() or ["the log is empty"]
        trial.set_user_attr(ERROR, redact_credentials(lines[-1]))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    history = read_metrics(metrics)
    best = history["val_loss"].index(min(history["val_loss"]))
    trial.set_user_attr(EPOCH, best + 1)
    study.tell(trial, history["val_auc"][best])


def _report_epochs(trial: optuna.Trial, process: subprocess.Popen, metrics: Path) -> bool:
    """Report every epoch, in order, until the process ends; return whether the trial is to be pruned."""
    reported = 0
    running = True
    while running:
        time.sleep(POLL_SECONDS)
        running = process.poll() is None  # before the file is read: an ended process writes no more
        values = read_metrics(metrics).get("val_auc", [])
        for epoch in range(reported, len(values)):
            trial.report(values[epoch], epoch)
            trial.set_user_attr(EPOCH, epoch + 1)
            if trial.should_prune():
                return True
        reported = len(values)
    return False


def read_metrics(path: Path) -> dict[str, list[float]]:
    """Return the values of each metric by epoch. An epoch that is not complete in the file is left out."""
    text = path.read_text() if path.exists() else ""
    lines = re.findall(r"^\S+ (\w+)=(\S+)\n", text, re.MULTILINE)
    history: dict[str, list[float]] = {}
    for name, value in lines:
        history.setdefault(name, []).append(float(value))
    epochs = min(map(len, history.values()), default=0)
    return {name: values[:epochs] for name, values in history.items()}


def format_value(value: Any) -> str:
    """Return a hyper-parameter as text, the same for the trial's command line and for the printed result."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
