"""One trial of a search: a cross-validation as a process of its own, pruned if it is worse than the other trials."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from components.hyperparameters import TrainConfig
from components.uris import redact_credentials
from pipelines.local.processes import process_group

POLL_SECONDS = 0.3
STOP_SECONDS = 10
ERROR = "error"  # user attribute of a failed trial
SearchSpace = dict[str, BaseDistribution]


# Left to a person: what changes the architecture or its cost, such as the head of `cnn`, or `views`, `mirror` and the image size.
# Not searched for `evidence`: the augmentation, whose every value needs all features computed anew, so that a trial takes as long
# as the first; and `epochs`, which with the falling learning rate and the averaged weights acts as the learning rate does.
SEARCH_SPACES: dict[str, SearchSpace] = {
    "evidence": {
        "learning_rate": FloatDistribution(1e-3, 5e-2, log=True),
        "weight_decay": FloatDistribution(0.2, 20.0, log=True),
        "label_smoothing": FloatDistribution(0.0, 0.2),
        "sharpness": FloatDistribution(1.0, 20.0, log=True),
    },
    "cnn": {
        "learning_rate": FloatDistribution(1e-4, 3e-3, log=True),
        "dropout": FloatDistribution(0.2, 0.7),
        "l2": FloatDistribution(1e-6, 1e-2, log=True),
        "filters": CategoricalDistribution((16, 32, 48)),
        "dense_units": CategoricalDistribution((64, 128, 256)),
        "batch_size": CategoricalDistribution((8, 16, 32)),
        "rotation_deg": FloatDistribution(0.0, 30.0),
        "zoom": FloatDistribution(0.0, 0.2),
    },
}


def searched(config: TrainConfig, fixed: Collection[str]) -> SearchSpace:
    """Return the searched hyper-parameters of an architecture and their ranges, without those of fixed names."""
    return {name: values for name, values in SEARCH_SPACES[config.architecture].items() if name not in fixed}


def warm_up_steps(config: TrainConfig) -> int:
    """Return the number of steps whose results a trial does not report, as they predict little about its value.

    These are the first half of the epochs, as the trained weights are the mean of the second half, or the first fold.
    """
    return config.epochs // 2 if config.scores_by_fold else 1


def run_trial(
    study: optuna.Study,
    trial: optuna.Trial,
    *,
    shards: Path,
    scratch: Path,
    config: TrainConfig,
    fixed: Mapping[str, Any],
    log: Path,
    pass_fds: Sequence[int] = (),
) -> None:
    """Cross-validate a trial's hyper-parameters and report the result to the study.

    A trial's value is the last result that the training reports: the ROC-AUC over all training and validation images, each scored
    by a network that was not taught its fold.

    Args:
        study: Study that created the trial.
        trial: Trial with its hyper-parameters in `params`.
        shards: Preprocess output.
        scratch: Folder of what trials share and leave behind: cached features, temporary files of a pruned trial.
        config: Hyper-parameters of the architecture without the trial's own.
        fixed: Those that are not searched, by name.
        log: Output file of the training's log; the metrics go to a file next to it.
        pass_fds: File descriptors that the training inherits, such as that of a lock.
    """
    metrics = log.with_suffix(".metrics")
    flags = [f"--{name}={format_value(value)}" for name, value in (dict(fixed) | trial.params).items()]
    paths = [f"--shards={shards}", f"--metrics-file={metrics}", f"--cache-dir={scratch}"]
    command = [sys.executable, "-m", "components.train", "--cross-validate", *paths, *flags]
    environment = os.environ | {"TMPDIR": str(scratch)}
    with log.open("w", encoding="utf-8") as output:
        options = {"stdout": output, "stderr": subprocess.STDOUT, "env": environment, "pass_fds": pass_fds}
        with process_group(command, stop_seconds=STOP_SECONDS, **options) as process:
            pruned = _report_steps(trial, process, metrics, warm_up_steps(config))
    if pruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    elif process.returncode:
        lines = log.read_text().strip().splitlines() or ["the log is empty"]
        trial.set_user_attr(ERROR, redact_credentials(lines[-1]))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        study.tell(trial, read_metrics(metrics)["val_auc"][-1])


def _report_steps(trial: optuna.Trial, process: subprocess.Popen, metrics: Path, reported: int) -> bool:
    """Report every step after the first ones until the process ends; return whether the trial is to be pruned."""
    running = True
    while running:
        time.sleep(POLL_SECONDS)
        running = process.poll() is None  # before the file is read: an ended process writes no more
        values = read_metrics(metrics).get("val_auc", [])
        for step in range(reported, len(values)):
            trial.report(values[step], step)
            if trial.should_prune():
                return True
        reported = max(reported, len(values))
    return False


def read_metrics(path: Path) -> dict[str, list[float]]:
    """Return the values of each metric by step. A step that is not complete in the file is left out."""
    text = path.read_text() if path.exists() else ""
    lines = re.findall(r"^\S+ (\w+)=(\S+)\n", text, re.MULTILINE)
    history: dict[str, list[float]] = {}
    for name, value in lines:
        history.setdefault(name, []).append(float(value))
    steps = min(map(len, history.values()), default=0)
    return {name: values[:steps] for name, values in history.items()}


def format_value(value: Any) -> str:
    """Return a hyper-parameter as text, the same for the trial's command line and for the printed result."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
