import pytest

from pipelines.local import monitor, serve
from tests.pipelines.conftest import exit_message


@pytest.mark.parametrize("main", [serve.main, monitor.main])
@pytest.mark.parametrize(
    ("value", "expected"),
    [("abc", "a valid integer"), ("99999", "a number less than or equal to 65535"), ("", "a valid integer")],
)
def test_invalid_port_is_named(main: object, value: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PORT", value)
    assert exit_message(main) == f"error: HTTP_PORT: got {value!r}, expected {expected}"  # type: ignore[arg-type]
