"""Sphinx builds the site from the same Markdown that the repository shows: `make docs`."""

import re
import tomllib
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

ROOT = Path(__file__).parent.parent
REPOSITORY = "https://github.com/brain-tumor/brain-tumor/blob/main"
LINK_OUT_OF_DOCS = re.compile(r"\]\(\.\./")
# What a browser loads by itself; a link that a person follows may lead anywhere.
LOADED = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["'](?P<src>[^"']+)|<link\b(?P<link>[^>]*)>""")
LOADED_BY_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""")
EXTERNAL = re.compile(r"(?:https?:)?//")

project = "Brain-tumour detection"
release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
copyright = "the brain-tumor authors, Apache-2.0"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # the anchors that GitHub makes, too
html_theme = "furo"
html_title = f"{project} {release}"
html_show_sphinx = False
html_copy_source = False


def link_to_repository(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Lead links to files outside docs/ to the repository: the site has no copy of them."""
    source[0] = LINK_OUT_OF_DOCS.sub(f"]({REPOSITORY}/", source[0])


def check_self_contained(app: Sphinx, error: Exception | None) -> None:
    """Fail if a page makes the reader's browser load anything from elsewhere."""
    if error:
        return
    for path in app.outdir.rglob("*"):
        if path.suffix not in (".html", ".css", ".svg"):
            continue
        text = path.read_text(encoding="utf-8")
        loaded = [found["src"] or found["link"] for found in LOADED.finditer(text)]
        external = [each for each in loaded if EXTERNAL.match(each) or re.search(r"""href=["'](?:https?:)?//""", each)]
        if external or LOADED_BY_STYLE.search(text):
            raise SphinxError(f"{path}: got {external or 'a style'} from elsewhere, expected only files of the site")


def setup(app: Sphinx) -> None:
    app.connect("source-read", link_to_repository)
    app.connect("build-finished", check_self_contained)
