"""The order of the classes."""

from brain_tumor.classes import class_order


def test_no_tumor_is_first_of_two_classes_and_more_are_alphabetical() -> None:
    assert class_order({"tumor", "no_tumor"}) == ["no_tumor", "tumor"]
    assert class_order({"no_tumor", "glioma"}) == ["no_tumor", "glioma"]
    assert class_order({"pituitary", "no_tumor", "glioma", "meningioma"}) == ["glioma", "meningioma", "no_tumor", "pituitary"]
