"""The gateway as a command: its help, its settings, its dead letters."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from brain_tumor.settings import settings_error
from serving.dicomweb.__main__ import main
from serving.dicomweb.series import Found
from serving.dicomweb.settings import Settings
from serving.dicomweb.state import exclusive_state

Run = Callable[..., str]
URL = "https://pacs.example/dicom-web"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command on the state in the test's folder; it returns the output or the error."""

    def command(*arguments: str, **settings: str) -> str:
        environment = {"DICOMWEB_URL": URL, "STATE": f"{tmp_path}/state.sqlite", "RULES": f"{tmp_path}/rules.yaml", **settings}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["serving.dicomweb", *arguments])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        try:
            main()
        except SystemExit as ended:
            return str(ended.code) if ended.code else capsys.readouterr().out
        return capsys.readouterr().out

    return command


def test_dead_letters_are_printed_and_queued_again(tmp_path: Path, run: Run) -> None:
    with exclusive_state(tmp_path / "state.sqlite") as state:
        for number in (1, 2):
            state.observe([Found("1.2", f"1.2.{number}", 3)], 0, is_backlog=False, takes_backlog=False)
            state.queue_complete(60, 60)
            series = state.next_due(60)
            assert series
            state.bury(series, 86_400 * number, "corrupt", "predict: file[1]: damaged")
        assert run("dead-letters").splitlines() == [
            "since\tcode\tseries\tstudy\treason",
            "1970-01-02T00:00:00Z\tcorrupt\t1.2.1\t1.2\tpredict: file[1]: damaged",
            "1970-01-03T00:00:00Z\tcorrupt\t1.2.2\t1.2\tpredict: file[1]: damaged",
        ]
        assert run("retry", "1.2.2") == "queued again: 1\n"
        assert [letter.series_uid for letter in state.dead_letters()] == ["1.2.1"]
        assert run("retry", "1.2.3") == "error: no dead letter has this series UID: the command dead-letters lists them"
        assert run("retry", "--all") == "queued again: 1\n"


def test_nothing_runs_without_rules_or_beside_another_gateway(tmp_path: Path, run: Run) -> None:
    assert "nothing runs without rules" in run()
    (tmp_path / "rules.yaml").write_text("- description: t1")
    with exclusive_state(tmp_path / "state.sqlite"):
        assert "one may run at a time" in run()
    assert "the gateway creates it at its first start" in run("dead-letters", STATE=f"{tmp_path}/none")


def test_help_lists_commands_and_settings(run: Run) -> None:
    text = run("--help")
    assert "dead-letters" in text
    assert all(f"  {name.upper()} (default: " in text for name in Settings.model_fields)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dicomweb_url": ""}, "DICOMWEB_URL: got '', expected a URL such as https://pacs.example/dicom-web"),
        ({"dicomweb_url": "https://u:secret@pacs"}, "DICOMWEB_URL: got a user, a password or a query, expected a plain URL"),
        ({"dicomweb_token": "a b"}, "DICOMWEB_TOKEN: got a blank or a non-ASCII character"),
        ({"dicomweb_user": "u", "dicomweb_token": "secret"}, "DICOMWEB_TOKEN: got a token and DICOMWEB_USER, expected one"),
        ({"dicomweb_ca": "/none"}, "DICOMWEB_CA: got '/none', expected a file with certificates in PEM form"),
        ({"highest": 33}, "HIGHEST: got 33, expected a number less than or equal to 32"),
        ({"poll_seconds": 0}, "POLL_SECONDS: got 0, expected a number greater than 0"),
    ],
)
def test_invalid_settings_are_named_without_secrets(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings(**{"dicomweb_url": URL, **settings})  # type: ignore[arg-type]
    text = settings_error(raised.value, Settings)
    assert text.startswith(message)
    assert "secret" not in text
