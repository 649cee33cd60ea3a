import argparse
import re
from typing import Any, Literal

import pytest

from brain_tumor.errors import InputError
from components.values import parse_value, printable, unknown_name


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("7", int, 7),
        ("1e-3", float, 0.001),
        (".5", float, 0.5),
        ("False", bool, False),
        ("true", bool, True),
        ("x", str, "x"),
        ("7", str, "7"),
        ("a", Literal["a", "b"], "a"),
        ("[1]", list, [1]),
        ("{}", dict, {}),
    ],
)
def test_text_becomes_a_value_of_its_type(text: str, kind: Any, value: Any) -> None:
    parsed = parse_value("name", text, kind)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("inf", float, "a finite number"),
        ("nan", float, "a finite number"),
        ("fast", float, "a valid number"),
        ("1.5", int, "a valid integer"),
        ("many", int, "a valid integer"),
        ("1", bool, "true or false"),
        ("c", Literal["a", "b"], "'a' or 'b'"),
        ("[]", dict, "a JSON object"),
        ("{", list, "a JSON list"),
    ],
)
def test_text_of_another_type_is_rejected(text: str, kind: Any, expected: str) -> None:
    with pytest.raises(InputError, match=f"^name: got {re.escape(repr(text))}, expected {expected}$"):
        parse_value("name", text, kind)


def test_unknown_name_suggests_the_most_similar_one() -> None:
    known = ["zoom", "epochs"]
    assert str(unknown_name("--set", "epoch", known)) == (
        "--set: got unknown name 'epoch' (did you mean epochs?), expected one of epochs, zoom"
    )
    assert str(unknown_name("--set", "xyz", known)) == "--set: got unknown name 'xyz', expected one of epochs, zoom"


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "a\x1b[0m", "a\udcff"])
def test_control_characters_and_bytes_that_are_not_utf_8_are_rejected(text: str) -> None:
    with pytest.raises(InputError, match=r"^name: got 'a\\.*', expected UTF-8 without control characters$"):
        parse_value("name", text, str)
    with pytest.raises(argparse.ArgumentTypeError, match=r"^got 'a\\.*', expected UTF-8 without control characters$"):
        printable(text)


def test_every_printable_character_is_accepted() -> None:
    text = "'\"\\[]*?#%;&$`~- é\u00a0\u3000\u4e2d\U0001f9e0 . "
    assert printable(text) == parse_value("name", text, str) == text


@pytest.mark.parametrize("text", ['{"a": "\udcff"}', '{"a":\n 1}'])
def test_json_has_line_ends_between_its_values_alone(text: str) -> None:
    if "\n" in text:
        assert parse_value("name", text, dict) == {"a": 1}
    else:
        with pytest.raises(InputError):
            parse_value("name", text, dict)
