import pytest

from ui.formatting import capitalize_first, class_display_name, explanation_display_name, format_probability


@pytest.mark.parametrize(
    ("value", "distinct_from", "text"),
    [
        (0.5, 0.5, "0.500"),
        (0.49996, 0.5, "0.49996"),
        (0.4999999999, 0.5, "0.4999999999"),
        (0.50004, 0.5, "0.50004"),
        (0.7, 0.5, "0.700"),
        (0.0, 0.5, "0.000"),
        (1e-9, 0.5, "< 0.001"),
        (0.99999, 0.5, "> 0.999"),
        (1.0, None, "1.000"),
    ],
)
def test_rounded_probability_never_reads_as_0_1_or_the_threshold(value: float, distinct_from: float | None, text: str) -> None:
    assert format_probability(value, distinct_from) == text


def test_class_names_have_british_spelling_and_blanks() -> None:
    labels = ("tumor", "no_tumor", "glioma", "pituitary")
    assert list(map(class_display_name, labels)) == ["tumour", "no tumour", "glioma", "pituitary"]


def test_unknown_method_of_explanation_keeps_its_name() -> None:
    names = [explanation_display_name(method) for method in ("grad_cam", "evidence", "other")]
    assert names == ["Grad-CAM", "evidence map", "other"]
    assert list(map(capitalize_first, [*names, ""])) == ["Grad-CAM", "Evidence map", "Other", ""]
