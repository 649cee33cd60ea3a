"""From scores to decisions: probabilities by temperature, the threshold, and whether a prediction is uncertain.

Temperature scaling after Guo et al. 2017, "On calibration of modern neural networks", with the targets of Platt 1999,
"Probabilistic outputs for support vector machines", which keep it finite if the scores separate the classes; class-conditional
split conformal prediction after Vovk 2012, "Conditional validity of inductive conformal predictors".
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from components.hyperparameters import TrainConfig
from components.trained import CalibrationSet

if TYPE_CHECKING:
    import tensorflow as tf

# Fraction of the images of each class whose conformal set may lack it. Of n images to fit on, at least one is left out.
CONFORMAL_ERROR = 0.05
DECIMALS = 6
# An `auto` threshold is not above it: a tumour that is more likely than not is never called `no_tumor`.
EVEN = 0.5
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Decision:
    """Fitted rules from a score to probability, label and uncertainty.

    Attributes:
        classes: Class names.
        temperature: Divisor of the score.
        threshold: Tumour probability from which the label is the second class; None above two classes.
        min_probability: Probability from which a class is in the conformal set, float32 [classes].
    """

    classes: tuple[str, ...]
    temperature: float
    threshold: float | None
    min_probability: np.ndarray

    def decide(self, score: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        """Return the predicted class, int32 [N], and the score at which another would be predicted, float32 [N].

        Args:
            score: float32 [N, 1], or [N, classes] above two classes.
        """
        import tensorflow as tf

        if self.threshold is not None:
            index = tf.cast(tf.sigmoid(score[:, 0] / self.temperature) >= self.threshold, tf.int32)
            return index, tf.fill(
                tf.shape(index), tf.constant(self.temperature * math.log(self.threshold / (1 - self.threshold)), tf.float32)
            )
        return tf.argmax(score, axis=-1, output_type=tf.int32), tf.math.top_k(score, 2).values[:, 1]

    def outputs(self, score: "tf.Tensor") -> dict[str, "tf.Tensor"]:
        """Return the outputs `probability`, `label` and `uncertain` of the model contract."""
        import tensorflow as tf

        index, _ = self.decide(score)
        if self.threshold is not None:
            probability = tf.sigmoid(score / self.temperature)
            by_class = tf.concat([1 - probability, probability], axis=1)
        else:
            probability = by_class = tf.nn.softmax(score / self.temperature)
        in_set = by_class >= self.min_probability
        only_label = tf.reduce_all(tf.equal(in_set, tf.one_hot(index, len(self.classes), True, False, dtype=tf.bool)), axis=1)
        return {
            "probability": probability,
            "label": tf.gather(tf.constant(self.classes), index),
            "uncertain": tf.logical_not(only_label),
        }


def fit_decision(calibration: CalibrationSet, classes: list[str], config: TrainConfig) -> tuple[Decision, dict[str, Any]]:
    """Fit temperature, threshold and conformal sets.

    Args:
        calibration: Scores of images that the network was not trained on.
        classes: Class names.
        config: Hyper-parameters, for the threshold, which has no effect above two classes.

    Returns:
        The rules, and the entries of model.json about them.
    """
    scores, labels = calibration.scores.astype(np.float64), calibration.labels
    temperature = fit_temperature(scores, labels)
    probabilities = class_probabilities(scores / temperature)
    if len(classes) > 2:
        cut, rule = None, "fixed"
    elif config.threshold == "auto":
        cut, rule = min(EVEN, highest_threshold(probabilities[labels == 1, 1], config.threshold_sensitivity)), "auto"
    else:
        cut, rule = config.threshold, "fixed"
    minimum = conformal_minimums(probabilities, labels)
    about = {
        "temperature": {"value": round(temperature, DECIMALS), "fitted_on": calibration.description},
        "conformal": {
            "error": round(max(CONFORMAL_ERROR, 1 / (np.bincount(labels, minlength=len(classes)).min() + 1)), DECIMALS),
            "min_probability": dict(zip(classes, minimum.tolist(), strict=True)),
            "fitted_on": calibration.description,
        },
        "threshold": {
            "value": cut,
            "rule": rule,
            "sensitivity": config.threshold_sensitivity if rule == "auto" else None,
            "fitted_on": calibration.description if rule == "auto" else None,
        },
    }
    return Decision(tuple(classes), temperature, cut, minimum.astype(np.float32)), about


def fit_temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the divisor of the scores, float [n, 1] or [n, classes], that makes the labels, int [n], most likely."""
    from scipy.optimize import minimize_scalar

    classes = max(2, scores.shape[1])
    counts = np.bincount(labels, minlength=classes)[labels][:, None]
    targets = (np.eye(classes)[labels] * counts + 1) / (counts + classes)

    def loss(log_temperature: float) -> float:
        return -float((targets * _log_probabilities(scores / math.exp(log_temperature))).sum(axis=1).mean())

    bounds = (math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1]))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def class_probabilities(scores: np.ndarray) -> np.ndarray:
    """Return the probability of each class, float [n, classes], from scores, float [n, 1] or [n, classes]."""
    return np.exp(_log_probabilities(scores))


def highest_threshold(tumor_probabilities: np.ndarray, sensitivity: float) -> float:
    """Return the highest threshold that at least a fraction `sensitivity` of the probabilities, float [n], reaches."""
    highest_first = np.sort(tumor_probabilities)[::-1]
    reached = highest_first[math.ceil(sensitivity * len(highest_first)) - 1]
    return float(np.clip(_round_down(reached), 10**-DECIMALS, 1 - 10**-DECIMALS))


def conformal_minimums(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return for each class the probability from which it is in the conformal set, float [classes].

    It is rounded down. Without an image of a class it is 0: the class is in every set.

    Args:
        probabilities: float [n, classes], of images that the network was not trained on.
        labels: Indices of the true classes, int [n].
    """
    minimums = []
    for index in range(probabilities.shape[1]):
        own = np.sort(probabilities[labels == index, index])
        missed = max(1, math.floor(CONFORMAL_ERROR * (len(own) + 1)))
        minimums.append(_round_down(own[missed - 1]) if len(own) else 0.0)
    return np.array(minimums)


def _round_down(value: float) -> float:
    """Round down, so that an image at the limit stays above it in float32."""
    return math.floor(value * 10**DECIMALS) / 10**DECIMALS


def _log_probabilities(scores: np.ndarray) -> np.ndarray:
    if scores.shape[1] == 1:
        return -np.logaddexp(0, np.hstack([scores, -scores]))
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)


def score_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return loss, accuracy, precision, recall and AUC of scores, float [n, 1] or [n, classes], for labels, int [n].

    As Keras counts them: precision and recall over all classes above two, AUC as the mean over classes.
    """
    from sklearn.metrics import accuracy_score, precision_score, recall_score, roc_auc_score

    probabilities = class_probabilities(scores.astype(np.float64))
    predicted = probabilities.argmax(axis=1)
    average = "binary" if scores.shape[1] == 1 else "micro"
    return {
        "loss": -float(_log_probabilities(scores.astype(np.float64))[np.arange(len(labels)), labels].mean()),
        "accuracy": float(accuracy_score(labels, predicted)),
        "precision": float(precision_score(labels, predicted, average=average, zero_division=0.0)),
        "recall": float(recall_score(labels, predicted, average=average, zero_division=0.0)),
        "auc": float(roc_auc_score(labels, probabilities[:, 1] if scores.shape[1] == 1 else probabilities, multi_class="ovr")),
    }
