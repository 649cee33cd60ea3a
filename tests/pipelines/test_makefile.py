"""Make hands paths to the commands as they are."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pipelines.conftest import ODD_NAME

VARIABLES = ("DATA", "EXTERNAL", "MODEL")


@pytest.fixture
def arguments(tmp_path: Path) -> Path:
    """A program in place of the environment's Python, which prints its arguments."""
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\nprintf "<%s>\\n" "$@"\n')
    program.chmod(0o755)
    return program


def make(program: Path, *words: str, **variables: str) -> list[str]:
    environment = {name: text for name, text in os.environ.items() if name not in ("MAKEFLAGS", *VARIABLES)}
    command = ["make", "--silent", "--directory", str(ROOT), f"BIN={program.parent}", "READY=", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment | variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("target", "variable", "option"),
    [
        ("pipeline", "DATA", "--source="),
        ("run", "DATA", "--source="),
        ("tune", "DATA", "--source="),
        ("cv", "DATA", "--source="),
        ("cv", "EXTERNAL", "--external="),
        ("verify", "MODEL", ""),
    ],
)
def test_path_reaches_the_command_as_it_is(arguments: Path, target: str, variable: str, option: str) -> None:
    value = f"{ODD_NAME} $$ $(shell id) $(DATA) "
    assert f"<{option}{value}>" in make(arguments, target, f"{variable}={value}")
    assert f"<{option}{value}>" in make(arguments, target, **{variable: value})


def test_source_is_phantoms_by_default(arguments: Path) -> None:
    assert make(arguments, "pipeline") == ["<-m>", "<pipelines.local.run>", "<--source=synthetic://>"]
