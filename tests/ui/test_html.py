import pytest
from jinja2 import UndefinedError

from ui.html import render


def test_text_is_escaped_and_rendered_html_is_not_escaped_again() -> None:
    inner = render("heading.html", text='<b> & "')
    assert inner.strip() == "<h2>&lt;b&gt; &amp; &#34;</h2>"
    assert inner in render("heading.html", text=inner)


def test_missing_variable_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'text' is undefined"):
        render("heading.html")
