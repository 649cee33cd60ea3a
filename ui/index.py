"""The HTML document that the browser loads: Streamlit's own, with this page's title and script."""

from pathlib import Path

import streamlit
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from ui.html import render

STREAMLIT_INDEX = Path(streamlit.__file__).parent / "static" / "index.html"
STREAMLIT_TITLE = "<title>Streamlit</title>"
SCRIPT = Path(__file__).with_name("connection.js")


def index_html(session_minutes: float) -> str:
    """Return the document.

    Raises:
        ValueError: Streamlit's document has another title than expected.
    """
    document = STREAMLIT_INDEX.read_text(encoding="utf-8")
    if STREAMLIT_TITLE not in document:
        raise ValueError(f"{STREAMLIT_INDEX}: expected {STREAMLIT_TITLE}")
    script = Markup(SCRIPT.read_text(encoding="utf-8"))
    return document.replace(STREAMLIT_TITLE, render("head.html", script=script, minutes=session_minutes))


def index_route(path: str, session_minutes: float) -> Route:
    """Return the route of the document below the page's path."""
    document = index_html(session_minutes)

    async def index(_: Request) -> HTMLResponse:
        return HTMLResponse(document, headers={"Cache-Control": "no-cache"})

    return Route(f"{path}/", index)
