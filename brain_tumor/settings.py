"""Help, errors and shared checks of settings classes, whose fields are the environment variables of their names in capitals."""

import argparse
import re
import sys
from typing import Annotated, Any, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, ValidationError


def check_url(text: str, *, example: str, secrets: str) -> str:
    """Return a URL without a slash at its end.

    Args:
        text: The URL.
        example: A URL, for the error.
        secrets: Where to put what is secret in a URL, for the error.

    Raises:
        ValueError: It is none, or has a user, a password or a query, which the error does not quote.
    """
    parts = urlsplit(text)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"got a user, a password or a query, expected a plain URL; put {secrets}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"got {text!r}, expected a URL such as {example}")
    return text.rstrip("/")


def _check_token(text: str) -> str:
    token = text.strip()
    if not re.fullmatch(r"[\x21-\x7e]*", token):
        raise ValueError("got a blank or a non-ASCII character, expected printable ASCII, as in any HTTP header")
    return token


Port = Annotated[int, Field(ge=1, le=65535)]
# A secret for `Authorization: Bearer`, without the blanks and line ends around it; empty for none.
Token = Annotated[str, AfterValidator(_check_token)]
S = TypeVar("S", bound=BaseModel)


def read_settings(settings: type[S], module: str, purpose: str) -> S:
    """Read the settings of a process at its start.

    `--help` prints every variable and ends the process, and so does an invalid value, with one line on stderr. Other arguments
    are ignored: KServe adds some of its own.

    Args:
        settings: Settings class that reads the environment.
        module: Module that `python -m` runs.
        purpose: Sentence on the process, for the help.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=purpose,
        epilog=f"environment variables:\n{describe_settings(settings)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_known_args()
    try:
        return settings()
    except ValidationError as error:
        sys.exit(f"error: {settings_error(error, settings)}")


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


def expected_value(details: Any) -> str:
    """Return the expectation in one entry of `ValidationError.errors()`: `a valid integer`, `greater than 0`."""
    return str(details["msg"]).removeprefix("Input should be ").partition(", unable to")[0]


def _reason(details: Any, settings: type[BaseModel]) -> str:
    if details["type"] == "value_error":
        return str(details["ctx"]["error"])
    expected = expected_value(details)
    if details["type"] == "literal_error":
        expected = "one of " + ", ".join(get_args(settings.model_fields[details["loc"][0]].annotation))
    elif expected.startswith(("greater", "less")):
        expected = f"a number {expected}"
    return f"got {details['input']!r}, expected {expected}"
