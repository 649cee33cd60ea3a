"""Format class names and probabilities for the web page."""

DECIMALS = 3
MAX_DECIMALS = 17


EXPLANATIONS = {"grad_cam": "Grad-CAM", "evidence": "evidence map"}


def class_display_name(label: str) -> str:
    """Return a class name as displayed: `no_tumor` becomes `no tumour`."""
    return label.replace("_", " ").replace("tumor", "tumour")


def explanation_display_name(method: str) -> str:
    """Return the name of a method of explanation as displayed: `grad_cam` becomes `Grad-CAM`."""
    return EXPLANATIONS.get(method, method)


def capitalize_first(text: str) -> str:
    """Return a text with an upper-case first letter, the rest unchanged."""
    return text[:1].upper() + text[1:]


def format_probability(value: float, distinct_from: float | None = None) -> str:
    """Format a probability with three decimals. A value that is not exactly 0 or 1 never reads as 0 or 1.

    Args:
        value: Probability, 0-1.
        distinct_from: Threshold, 0-1. Decimals are added until the two numbers read differently.
    """
    smallest = 10**-DECIMALS
    if 0 < value < smallest / 2:
        return f"< {smallest}"
    if 1 - smallest / 2 <= value < 1:
        return f"> {1 - smallest}"
    decimals = DECIMALS
    if distinct_from is not None and value != distinct_from:
        while decimals < MAX_DECIMALS and f"{value:.{decimals}f}" == f"{distinct_from:.{decimals}f}":
            decimals += 1
    return f"{value:.{decimals}f}"
