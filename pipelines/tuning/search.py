"""One trial of a search: the train step's command line as a process, ended early where it falls behind the others."""

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
# What is searched, and where. Choices that change what the model is, as its head, are a person's.
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
EPOCH, ERROR = "epoch", "error"  # what a trial notes of itself


def run_trial(study: optuna.Study, trial: optuna.Trial, *, shards: Path, fixed: Mapping[str, Any], log: Path) -> None:
    """Train with a trial's parameters and tell the study what it came to.

    A trial is worth the ROC-AUC on the validation part at the epoch of the lowest loss, the one whose weights a training keeps.

    Args:
        study: that asked for the trial.
        trial: its parameters are in `params`.
        shards: the folder that preprocess wrote.
        fixed: hyper-parameters that are not searched.
        log: the file to write what the training says to.
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
        said = log.read_text().strip().splitlines() or ["nothing was said"]
        trial.set_user_attr(ERROR, redact_credentials(said[-1]))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    history = read_metrics(metrics)
    best = history["val_loss"].index(min(history["val_loss"]))
    trial.set_user_attr(EPOCH, best + 1)
    study.tell(trial, history["val_auc"][best])


def _report_epochs(trial: optuna.Trial, process: subprocess.Popen, metrics: Path) -> bool:
    """Report every epoch, in order, until the process ends; return whether it fell behind the others before."""
    reported = 0
    running = True
    while running:
        time.sleep(POLL_SECONDS)
        running = process.poll() is None  # asked before the file is read: nothing is written after it has ended
        values = read_metrics(metrics).get("val_auc", [])
        for epoch in range(reported, len(values)):
            trial.report(values[epoch], epoch)
            trial.set_user_attr(EPOCH, epoch + 1)
            if trial.should_prune():
                return True
        reported = len(values)
    return False


def read_metrics(path: Path) -> dict[str, list[float]]:
    """Return each metric's values by epoch, of the epochs that are written whole."""
    text = path.read_text() if path.exists() else ""
    lines = re.findall(r"^\S+ (\w+)=(\S+)\n", text, re.MULTILINE)
    history: dict[str, list[float]] = {}
    for name, value in lines:
        history.setdefault(name, []).append(float(value))
    epochs = min(map(len, history.values()), default=0)
    return {name: values[:epochs] for name, values in history.items()}


def format_value(value: Any) -> str:
    """Return a hyper-parameter as it stands on a command line: the trial's and the one that a person is told."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
