"""Self-contained HTML reports: one base template, with images and plots inlined."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import numpy as np
from PIL import Image

from brain_tumor.model_card import NOTICE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPONENTS = Path(__file__).parent


def render(template: str, *, folder: Path = COMPONENTS, **context: object) -> str:
    """Render `template`, a path below `folder`, as one HTML page without external references."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, COMPONENTS]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(notice=NOTICE, **context)


def png_uri(pixels: np.ndarray) -> str:
    """Encode pixels, uint8 [h, w] or [h, w, 3], as the `data:` URI of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def svg(figure: "Figure") -> str:
    """Return a matplotlib figure as inline SVG, byte for byte the same for the same figure."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "brain-tumor"}):
        figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]
