"""Whatever the documentation names exists: files, headings, make targets, commands, settings, parameters."""

import ast
import importlib.util
import json
import re
from collections.abc import Callable
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
import yaml
from pydantic_settings import BaseSettings

import serving.dicomweb.settings
import serving.settings
import ui.settings
from components.architectures import FIELDS
from tests.conftest import ROOT

PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob(".github/*.md"), ROOT / "helm/brain-tumor-ui/README.md"})
README_MAX_LINES = 180
PACKAGES = ("brain_tumor", "components", "pipelines", "serving", "tests", "ui")
NOT_IN_REPOSITORY = ("runs", "docs/_build")

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
COMMENT = re.compile(r"(?:^|\s)#.*$", re.MULTILINE)
MAKE = re.compile(r"(?:^|[\s;&|])make((?: +(?:[A-Z_]+=\S+|[a-z][\w-]*))+)")
MODULE = re.compile(r"python3? -m ([\w.]+)")
SET = re.compile(r"--set ([a-z]\w*)=")
PATH = re.compile(r"[\w.-]+(?:/[\w.*-]+)*/?")
PARSERS: dict[str, Callable[[str], object]] = {
    "python": ast.parse,
    "json": json.loads,
    "yaml": lambda block: list(yaml.safe_load_all(block)),
}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def spans(page: Path) -> list[str]:
    """Return the inline code of a page."""
    return SPAN.findall(FENCE.sub("", page.read_text()))


def code(page: Path) -> list[str]:
    """Return the inline code of a page, and the lines of its code blocks without comments."""
    blocks = FENCE.findall(page.read_text())
    return spans(page) + [line for block in blocks for line in COMMENT.sub("", block).splitlines()]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = HEADING.findall(FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table(page: Path, header: str) -> dict[str, str]:
    """Return the first two columns of a page's table whose first header is `header`, without backticks."""
    found = re.search(rf"^\| {header} \|.*\n\|[ |-]+\|\n((?:\|.*\n)+)", page.read_text(), re.MULTILINE)
    assert found, f"{page.name} has no table whose first column is {header!r}"
    rows = [[cell.strip().strip("`") for cell in row.split("|")[1:3]] for row in found[1].splitlines()]
    return dict(rows)


def make_targets() -> dict[str, bool]:
    """Return the Makefile's targets, and whether `make help` lists them."""
    rules = re.findall(r"^([a-z][\w%-]*):(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return {name: "##" in rest for name, rest in rules}


def targets(page: Path) -> list[str]:
    """Return the make targets that a page names."""
    calls = [call for line in code(page) for call in MAKE.findall(line)]
    return [word for call in calls for word in call.split() if "=" not in word]


@cache
def pipeline_parameters() -> set[str]:
    pipeline = next(yaml.safe_load_all((ROOT / "pipelines/brain_tumor.yaml").read_text()))
    return set(pipeline["root"]["inputDefinitions"]["parameters"])


def test_readme_has_at_most_180_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_MAX_LINES


@each_page
def test_relative_links_lead_to_a_file_and_its_heading(page: Path) -> None:
    links = [link for link in LINK.findall(FENCE.sub("", page.read_text())) if "://" not in link]
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@each_page
def test_code_blocks_parse(page: Path) -> None:
    for language, block in BLOCK.findall(page.read_text()):
        if language in PARSERS:
            PARSERS[language](block)


@each_page
def test_make_targets_exist(page: Path) -> None:
    known = make_targets()
    assert [target for target in targets(page) if not any(fnmatch(target, name.replace("%", "*")) for name in known)] == []


def test_development_describes_every_target_of_make_help() -> None:
    listed = {name for name, in_help in make_targets().items() if in_help}
    assert listed - set(targets(ROOT / "docs/development.md")) == set()


@each_page
def test_modules_of_commands_exist(page: Path) -> None:
    missing = []
    for module in (module for line in code(page) for module in MODULE.findall(line)):
        path = ROOT / module.replace(".", "/")
        ours = path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
        if not ours and (module.split(".")[0] in PACKAGES or importlib.util.find_spec(module) is None):
            missing.append(module)
    assert missing == []


@pytest.mark.parametrize(
    ("page", "settings"),
    [
        ("docs/service.md", serving.settings.Settings),
        ("docs/page.md", ui.settings.Settings),
        ("docs/pacs.md", serving.dicomweb.settings.Settings),
    ],
)
def test_settings_table_has_every_variable_and_its_default(page: str, settings: type[BaseSettings]) -> None:
    defaults = {name.upper(): field.get_default(call_default_factory=True) for name, field in settings.model_fields.items()}
    expected = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in defaults.items()}
    assert table(ROOT / page, "variable") == expected


def test_variables_of_make_serve_are_read_by_the_code() -> None:
    source = "".join((ROOT / "pipelines/local" / name).read_text() for name in ("serve.py", "ports.py")).upper()
    assert [name for name in table(ROOT / "docs/service.md", "variable of `make serve`") if name not in source] == []


@each_page
def test_parameters_of_commands_exist(page: Path) -> None:
    known = pipeline_parameters() | FIELDS.keys()
    assert [name for line in code(page) for name in SET.findall(line) if name not in known] == []


def test_described_parameters_are_parameters_of_the_pipeline() -> None:
    described = [name for row in table(ROOT / "docs/model.md", "parameter") for name in row.replace("`", "").split(", ")]
    assert set(described) - pipeline_parameters() == set()


@each_page
def test_paths_in_backticks_exist(page: Path) -> None:
    top = {path.name for path in ROOT.iterdir() if not path.name.startswith(".venv")}
    missing = []
    for path in filter(PATH.fullmatch, spans(page)):
        in_repository = "/" in path and path.split("/")[0] in top and not path.startswith(NOT_IN_REPOSITORY)
        if in_repository and not any(ROOT.glob(path)):
            missing.append(path)
        if path.endswith(".py") and not any(any(ROOT.glob(f"{package}/**/{Path(path).name}")) for package in PACKAGES):
            missing.append(path)
    assert missing == []


def test_site_has_every_page() -> None:
    toctree = re.search(r"```\{toctree\}\n:hidden:\n\n(.*?)```", (ROOT / "docs/index.md").read_text(), re.DOTALL)
    assert toctree is not None
    assert sorted(toctree[1].split()) == sorted(page.stem for page in ROOT.glob("docs/*.md") if page.stem != "index")
