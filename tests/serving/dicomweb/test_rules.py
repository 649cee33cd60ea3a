"""Which series are selected, and which never are."""

from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, Sequence
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage, ParametricMapStorage

from brain_tumor.errors import InputError
from serving.dicomweb.rules import Rule, is_selected, orientation, read_rules, why_never
from tests.serving.dicomweb.series_files import AXIAL, CORONAL, SAGITTAL


def image(**attributes: Any) -> Dataset:
    header = Dataset()
    header.SOPClassUID, header.SeriesDescription, header.ImageType = MRImageStorage, "T1 AX", ["ORIGINAL", "PRIMARY"]
    header.ImageOrientationPatient = AXIAL
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    return header


def selects(rule: dict[str, Any], header: Dataset, slices: int = 20, *, is_backlog: bool = False) -> bool:
    return is_selected([Rule(**rule)], header, slices, is_backlog=is_backlog)


@pytest.mark.parametrize(
    ("cosines", "expected"),
    [
        (AXIAL, "axial"),
        (CORONAL, "coronal"),
        (SAGITTAL, "sagittal"),
        ([1, 0, 0, 0, 0.8, 0.6], "axial"),  # tilted by 37 degrees
        ([1, 0, 0, 0, 0.6, 0.8], "coronal"),
        ([1, 0, 0, 1, 0, 0], None),  # no plane
        ([1, 0, 0], None),
        ([], None),
    ],
)
def test_orientation_is_the_nearest_one(cosines: list[float], expected: str | None) -> None:
    assert orientation(image(ImageOrientationPatient=cosines)) == expected


def test_orientation_of_a_multi_frame_image_is_in_its_functional_groups() -> None:
    plane, groups = Dataset(), Dataset()
    plane.ImageOrientationPatient = SAGITTAL
    groups.PlaneOrientationSequence = Sequence([plane])
    header = image(SOPClassUID=EnhancedMRImageStorage, SharedFunctionalGroupsSequence=Sequence([groups]))
    del header.ImageOrientationPatient
    assert orientation(header) == "sagittal"


def test_description_matches_as_a_whole_in_any_case() -> None:
    assert selects({"description": "t1 ax"}, image())
    assert not selects({"description": "t1"}, image())
    assert selects({"description": "t1.*|flair"}, image(SeriesDescription="FLAIR"))
    assert not selects({"description": "t1.*"}, image(SeriesDescription=None))


def test_every_key_of_a_rule_has_to_match() -> None:
    rule = {"description": ".*", "orientation": "axial", "least_slices": 20}
    assert selects(rule, image(), 20)
    assert not selects(rule, image(), 19)
    assert not selects(rule, image(ImageOrientationPatient=CORONAL))
    assert not selects(rule, image(), is_backlog=True)
    assert selects({**rule, "backlog": True}, image(), is_backlog=True)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({}, None),
        ({"ImageType": None}, None),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "ADC"]}, "derived"),
        ({"SOPClassUID": ParametricMapStorage}, "not_mr"),
        ({"SOPClassUID": None}, "not_mr"),
    ],
)
def test_some_images_are_never_analysed(attributes: dict[str, Any], reason: str | None) -> None:
    assert why_never(image(**attributes)) == reason


def test_rules_are_read_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("- description: t1.*\n- {description: flair, orientation: axial, least_slices: 20, backlog: true}\n")
    expected = (Rule(description="t1.*"), Rule(description="flair", orientation="axial", least_slices=20, backlog=True))
    assert read_rules(path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a YAML list with a rule"),
        ("[]", "has no rule; expected a YAML list"),
        ("description: t1", "expected a YAML list with a rule"),
        ("- [", "is not YAML"),
        ("- orientation: axial", "rule 1: description: Field required"),
        ("- description: t1\n- {description: t2, orientation: oblique}", "rule 2: orientation: 'axial', 'coronal' or 'sagittal'"),
        ("- {description: t1, least_slices: 0}", "rule 1: least_slices: greater than or equal to 1"),
        ("- {description: t1, slices: 3}", "rule 1: slices: Extra inputs are not permitted"),
        ("- description: (", "rule 1: description: got '(', expected a regular expression"),
    ],
)
def test_invalid_rules_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"^RULES: ") as raised:
        read_rules(path)
    assert message in str(raised.value)


def test_nothing_runs_without_rules(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No such file or directory.*nothing runs without rules"):
        read_rules(tmp_path / "rules.yaml")
