"""Render the HTML templates of the web page and of its report."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ui.formatting import capitalize_first, class_display_name, explanation_display_name, format_probability

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {
    "class_name": class_display_name,
    "explanation_name": explanation_display_name,
    "capitalize_first": capitalize_first,
    "probability": format_probability,
}


def render(template: str, **values: object) -> Markup:
    """Render a template.

    Args:
        template: File name in `ui/templates`.
        values: The template's variables. Text is escaped; HTML of another `render` call is not escaped again.

    Raises:
        jinja2.UndefinedError: A variable of the template has no value.
    """
    return Markup(_ENVIRONMENT.get_template(template).render(values))
