import contextlib
import io

import pytest

from pipelines.local.step_log import StepLog


def logged(text: str, capsys: pytest.CaptureFixture[str], *, pieces: int = 7) -> tuple[str, str, list[str]]:
    """Print `text` in pieces; return the file, the printed lines and the tail."""
    file = io.StringIO()
    log = StepLog(file)
    with contextlib.redirect_stdout(log):
        for start in range(0, len(text), pieces):
            print(text[start : start + pieces], end="")
    return file.getvalue(), capsys.readouterr().out, list(log.tail)


def test_steps_own_lines_are_printed_and_the_file_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    text = "[KFP Executor] Looking\n    train: epoch 1\nI0000 oneDNN\n    ingest: error: no such folder\n"
    assert logged(text, capsys) == (text, "train: epoch 1\ningest: error: no such folder\n", [])


def test_credentials_of_a_uri_are_neither_printed_nor_written(capsys: pytest.CaptureFixture[str]) -> None:
    text = '    train: from https://me:pass@host/set.zip?sig=SECRET and on\n "source": "s3://bucket/a?sig=SECRET",\n'
    file, shown, _ = logged(text, capsys)
    assert shown == "train: from https://host/set.zip and on\n"
    assert file == '    train: from https://host/set.zip and on\n "source": "s3://bucket/a\n'


def test_tail_has_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    text = "    Traceback (most recent call last):\n      File x\n    ValueError: broken\n\n    more\n"
    assert logged(text, capsys)[2] == ["    Traceback (most recent call last):", "      File x", "    ValueError: broken"]
