"""How numbers and names are written."""

NOTICE = "Assists a reader and does not replace one. Not for diagnosis."
DECIMALS = 3
MOST_DECIMALS = 17


def class_display_name(label: str) -> str:
    """Write a class as a reader does: `no_tumor` becomes `no tumour`."""
    return label.replace("_", " ").replace("tumor", "tumour")


def format_probability(value: float, distinct_from: float | None = None) -> str:
    """Write a number of 0-1 with three decimals, never as a certainty that it is not.

    Args:
        value: 0-1.
        distinct_from: a threshold; further decimals are written until the two differ.
    """
    least = 10**-DECIMALS
    if 0 < value < least / 2:
        return f"< {least}"
    if 1 - least / 2 <= value < 1:
        return f"> {1 - least}"
    decimals = DECIMALS
    if distinct_from is not None and value != distinct_from:
        while decimals < MOST_DECIMALS and f"{value:.{decimals}f}" == f"{distinct_from:.{decimals}f}":
            decimals += 1
    return f"{value:.{decimals}f}"
