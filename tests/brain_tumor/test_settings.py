from typing import Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from brain_tumor.settings import describe_settings, settings_error


class Settings(BaseModel):
    """Fields of each kind that service and web page have."""

    port: int = Field(8080, ge=1, le=65535, description="REST port.")
    timeout_seconds: float = Field(5.0, gt=0, allow_inf_nan=False, description="Of one call.")
    colour: Literal["red", "blue"] = Field("red", description="Colour of the line.")
    token: str = Field("", description="Secret.")

    @field_validator("token")
    @classmethod
    def _one_word(cls, token: str) -> str:
        if " " in token:
            raise ValueError("contains a blank")
        return token


def test_help_lists_each_variable_with_default_and_meaning() -> None:
    assert describe_settings(Settings).splitlines() == [
        "  PORT (default: 8080)",
        "      REST port.",
        "  TIMEOUT_SECONDS (default: 5.0)",
        "      Of one call.",
        "  COLOUR (default: red)",
        "      Colour of the line.",
        "  TOKEN (default: empty)",
        "      Secret.",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"port": "many"}, "PORT: got 'many', expected a valid integer"),
        ({"port": "0"}, "PORT: got '0', expected a number greater than or equal to 1"),
        ({"port": "70000"}, "PORT: got '70000', expected a number less than or equal to 65535"),
        ({"timeout_seconds": "nan"}, "TIMEOUT_SECONDS: got 'nan', expected a finite number"),
        ({"colour": "green"}, "COLOUR: got 'green', expected one of red, blue"),
        ({"token": "s e c r e t"}, "TOKEN: contains a blank"),
        ({"port": "x", "colour": ""}, "PORT: got 'x', expected a valid integer; COLOUR: got '', expected one of red, blue"),
    ],
)
def test_error_names_variable_value_and_expectation(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate(values)
    assert settings_error(raised.value, Settings) == message
