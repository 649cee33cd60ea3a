import pytest
from pydantic import ValidationError

from brain_tumor.settings import settings_error
from ui.settings import Settings


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("API_URL", "localhost:8080", "got 'localhost:8080', expected a URL such as http://localhost:8080"),
        (
            "API_URL",
            "http://me:secret@gateway",
            "got a user, a password or a query, expected a plain URL; put a secret into API_TOKEN",
        ),
        ("API_TOKEN", "a b", "got a blank or a non-ASCII character, expected printable ASCII, as in any HTTP header"),
        ("PAGE_PORT", "x", "got 'x', expected a valid integer"),
        ("METRICS_PORT", "70000", "got '70000', expected a number less than or equal to 65535"),
        ("SESSION_MINUTES", "0", "got '0', expected a number greater than 0"),
        ("SESSION_MINUTES", "nan", "got 'nan', expected a number less than or equal to 1440"),
        ("SESSION_MINUTES", "inf", "got 'inf', expected a number less than or equal to 1440"),
        ("MAX_SERIES_BYTES", "9000", "got '9000', expected a number greater than or equal to 16777216"),
        ("SERIES_SECONDS", "0", "got '0', expected a number greater than 0"),
        ("COLOUR_MAP", "jet", "got 'jet', expected one of inferno, viridis, cividis"),
        ("PAGE_PATH", "brain", "got 'brain', expected a path such as /brain, or nothing"),
    ],
)
def test_error_names_variable_value_and_expectation(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert settings_error(raised.value, Settings) == f"{variable}: {message}"


def test_url_path_and_token_are_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"API_URL": "https://api/", "PAGE_PATH": "/mri/brain/", "API_TOKEN": "token\n"}.items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert (settings.api_url, settings.page_path, settings.api_token) == ("https://api", "/mri/brain", "token")
