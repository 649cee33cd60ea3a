"""Help and error text of a settings class. Each of its fields is the environment variable of that name in capitals."""

from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def describe_settings(settings: type[BaseModel]) -> str:
    """List each environment variable with its default and its meaning."""
    return "\n".join(
        f"  {name.upper()} (default: {'empty' if field.default == '' else field.default})\n      {field.description}"
        for name, field in settings.model_fields.items()
    )


def settings_error(error: ValidationError, settings: type[BaseModel]) -> str:
    """Return one line with each invalid variable, the value received and the value expected.

    The message of a ValueError that a validator raises follows the variable's name unchanged: it can leave a secret out.
    """
    return "; ".join(f"{str(details['loc'][0]).upper()}: {_reason(details, settings)}" for details in error.errors())


def _reason(details: Any, settings: type[BaseModel]) -> str:
    if details["type"] == "value_error":
        return str(details["ctx"]["error"])
    expected = details["msg"].removeprefix("Input should be ").partition(", unable to parse")[0]
    if details["type"] == "literal_error":
        expected = "one of " + ", ".join(get_args(settings.model_fields[details["loc"][0]].annotation))
    elif expected.startswith(("greater", "less")):
        expected = f"a number {expected}"
    return f"got {details['input']!r}, expected {expected}"
