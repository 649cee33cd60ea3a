"""Find shortcuts (confounders): properties that separate the classes without being a sign of disease."""

from collections.abc import Callable

import numpy as np

from components.ingest.reading import ImageProperties, Record, properties_of

MIN_EFFECT = 0.60
MIN_FRACTION_DIFFERENCE = 0.20
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
NUMERIC_PROPERTIES: dict[str, tuple[str, str, str, Callable[[ImageProperties], float]]] = {
    "longest side": ("larger", "smaller", "px", lambda image: max(image.width_px, image.height_px)),
    "mean grey level": ("brighter", "darker", "% of white", lambda image: 100 * image.brightness),
}
CATEGORICAL_PROPERTIES: dict[str, Callable[[ImageProperties], str]] = {
    "format": lambda image: image.format,
    "colour mode": lambda image: image.mode,
}


def find_shortcuts(kept: list[Record], classes: list[str]) -> list[str]:
    """Return a sentence for each property in which a class differs from all other classes together."""
    sentences = []
    for label in classes[1:] if len(classes) == 2 else classes:
        members = [properties_of(record) for record in kept if record.label == label]
        others = [properties_of(record) for record in kept if record.label != label]
        others_name = classes[0] if len(classes) == 2 else "other"
        sentences += _compare_numeric(members, others, f"A {label} image", f"{others_name} image")
        sentences += _compare_categorical(members, others, f"{label} images", f"{others_name} images")
    return sentences


def common_language_effect(values: np.ndarray, others: np.ndarray) -> float:
    """Return the probability that one of `values` is above one of `others`, ties counted half (McGraw and Wong 1992).

    Args:
        values: Values of one class, float [n].
        others: Values of the other classes, float [m].
    """
    others = np.sort(others)
    below = np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")
    return float(below.mean() / (2 * len(others)))


def _compare_numeric(members: list[ImageProperties], others: list[ImageProperties], name: str, other_name: str) -> list[str]:
    sentences = []
    for measured, (more, less, unit, measure) in NUMERIC_PROPERTIES.items():
        values, other_values = (np.array([measure(image) for image in images]) for images in (members, others))
        effect = common_language_effect(values, other_values)
        often = max(effect, 1 - effect)
        if often >= max(MIN_EFFECT, 0.5 + 2 * _standard_error(len(members), len(others))):
            sentences.append(
                f"{name} is {more if effect > 0.5 else less} than a random {other_name} {often:.0%} of the time "
                f"({measured}: median {np.median(values):.0f} against {np.median(other_values):.0f} {unit})."
            )
    return sentences


def _standard_error(n: int, m: int) -> float:
    """Return the standard error of the effect under the null hypothesis (Mann and Whitney 1947)."""
    return float(np.sqrt((n + m + 1) / (12 * n * m)))


def _compare_categorical(members: list[ImageProperties], others: list[ImageProperties], name: str, other_name: str) -> list[str]:
    sentences = []
    for property_name, kind in CATEGORICAL_PROPERTIES.items():
        values, other_values = ([kind(image) for image in images] for images in (members, others))
        for value in sorted(set(values) | set(other_values)):
            fraction, other_fraction = values.count(value) / len(values), other_values.count(value) / len(other_values)
            if abs(fraction - other_fraction) >= MIN_FRACTION_DIFFERENCE:
                sentences.append(
                    f"{fraction:.0%} of {name} have the {property_name} {value}, {other_fraction:.0%} of {other_name}."
                )
    return sentences


def plot_by_class(kept: list[Record], classes: list[str]) -> list[str]:
    """Plot the distribution of each numeric property by class, as inline SVG."""
    from matplotlib.figure import Figure

    from components.report import svg

    plots = []
    for name, (_, _, unit, measure) in NUMERIC_PROPERTIES.items():
        figure = Figure(figsize=(5, 2.8))
        axes = figure.subplots()
        values = {
            label: np.array([measure(properties_of(record)) for record in kept if record.label == label]) for label in classes
        }
        edges = np.linspace(0, np.percentile(np.concatenate(list(values.values())), 99) * 1.02 + 1e-9, 25).tolist()
        for label, colour in zip(classes, COLOURS, strict=False):
            weights = np.full(len(values[label]), 100 / len(values[label]))
            shown = np.minimum(values[label], edges[-1])
            axes.hist(shown, edges, weights=weights, histtype="stepfilled", alpha=0.18, color=colour)
            axes.hist(shown, edges, weights=weights, histtype="step", linewidth=1.6, color=colour, label=label)
        axes.set(xlabel=f"{name}, {unit}", ylabel="% of the class")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        plots.append(svg(figure))
    return plots
