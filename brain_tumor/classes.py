"""The class names and their order."""

TUMOR, NO_TUMOR = "tumor", "no_tumor"
SUBTYPES = ("glioma", "meningioma", "pituitary")


def class_order(labels: set[str]) -> list[str]:
    """Return the classes in the model's order: `no_tumor` first of two, alphabetical above two."""
    return sorted(labels, key=lambda label: (len(labels) == 2 and label != NO_TUMOR, label))
