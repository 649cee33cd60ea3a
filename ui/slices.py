"""Read slices: choose images, ask the service, look at each answer."""

from datetime import UTC, datetime
from html import escape
from pathlib import Path, PurePath

import numpy as np
import streamlit as st

from brain_tumor.images import read_image
from brain_tumor.overlay import OPACITY, encode_rgb_png, render_overlay
from ui import table
from ui.batch import Results, Slice, drop_retryable_errors, explain_all
from ui.client import Prediction, ServiceClient
from ui.errors import RequestError
from ui.formatting import class_display_name
from ui.report import report_html
from ui.result import colour_bar, overlay_figure, prediction_html, scale_for_display, slice_figure

PHANTOMS = {
    "ring": "Ring-shaped lesion",
    "bright": "Bright lesion",
    "none": "No lesion",
    "none-t2": "No lesion, as in T2",
}
FOLDER = Path(__file__).parent / "phantoms"
LIST_HEIGHT_PX, LONG_LIST = 330, 6
PRIVACY = """<p class="soft">Images stay in the memory of this page while it is open, and are dropped about a minute after you
close it. None is written to a disk, and no file name is sent or logged.</p>"""
EMPTY = """<div class="empty"><h2>Choose a slice</h2><p>Upload one image or many, or take a drawn phantom. For each you see what
the model calls it, how sure it is, and what in the image raised that score.</p><p class="soft">JPEG, PNG, GIF, BMP, TIFF, WebP,
PPM or JPEG 2000, up to 10 MB and 16 megapixels. DICOM is not read: export the slice as PNG, windowed as you read it.</p></div>"""


def show(service: ServiceClient, colour_map: str) -> None:
    """Show the reader's slices on one side and the chosen one on the other."""
    results: Results = st.session_state.setdefault("results", {})
    inputs, viewer = st.columns([3, 7], gap="large")
    with inputs:
        slices = _choose_files()
    with viewer:
        _ask(service, slices, results)
    if not slices:
        viewer.html(EMPTY)
        return
    with inputs:
        chosen = _choose_one(slices, results)
        if any(isinstance(result, RequestError) and result.is_retryable for result in results.values()):
            st.button("Try again", icon=":material/refresh:", on_click=drop_retryable_errors, args=(results,))
    with viewer:
        result = results[chosen.id]
        if isinstance(result, RequestError):
            st.html(f'<h2 class="name">{escape(chosen.name)}</h2><p class="banner bad" role="alert">{result}</p>')
        else:
            _view(chosen, result, colour_map)
    _show_table(slices, results)


def _choose_files() -> list[Slice]:
    files = st.file_uploader("MRI slices, one image each", accept_multiple_files=True, key="files")
    phantom = st.pills("Or a drawn phantom", list(PHANTOMS), format_func=PHANTOMS.__getitem__, key="phantom", wrap=True)
    st.html(PRIVACY)
    slices = [Slice(file.file_id, file.name, file.getvalue()) for file in files]
    if phantom:
        slices.append(Slice(f"phantom {phantom}", f"phantom-{phantom}.png", (FOLDER / f"{phantom}.png").read_bytes()))
    return slices


def _ask(service: ServiceClient, slices: list[Slice], results: Results) -> None:
    """Ask for what is new, with a bar that grows, and choose the first of it."""
    bar = st.empty()

    def on_progress(done: int, all_: int) -> None:
        bar.progress(done / all_, f"Asking for slice {done + 1} of {all_}")

    asked = explain_all(service, slices, results, on_progress=on_progress)
    bar.empty()
    ids = [each.id for each in slices]
    if asked:
        st.session_state["chosen"] = asked[0].id
    elif ids and st.session_state.get("chosen") not in ids:
        st.session_state["chosen"] = ids[0]


def _choose_one(slices: list[Slice], results: Results) -> Slice:
    by_id = {each.id: each for each in slices}
    if len(slices) == 1:
        return slices[0]
    with st.container(height=LIST_HEIGHT_PX if len(slices) > LONG_LIST else "content", border=len(slices) > LONG_LIST):
        chosen = st.radio(
            f"{len(slices)} slices",
            list(by_id),
            format_func=lambda id_: _plain(by_id[id_].name),
            captions=[_caption(results[id_]) for id_ in by_id],
            key="chosen",
        )
    return by_id[chosen]


@st.fragment
def _view(chosen: Slice, answer: Prediction, colour_map: str) -> None:
    """Show one answer; moving the slider runs this part only."""
    pixels = _pixels(chosen)
    st.html(f'<h2 class="name">{escape(chosen.name)}</h2>{prediction_html(answer)}')
    image, heat = st.columns(2)
    scale, controls = st.columns([3, 2], gap="large")
    with controls:
        opacity = st.slider("Opacity of the overlay", 0, 100, round(OPACITY * 100), 5, format="%d %%", key="opacity") / 100
        overlay = render_overlay(pixels, answer.heatmap, colour_map=colour_map, opacity=opacity)
        _offer_downloads(chosen.name, answer, pixels, overlay, colour_map=colour_map, opacity=opacity)
    image.html(slice_figure(pixels))
    heat.html(overlay_figure(overlay, answer))
    scale.html(colour_bar(colour_map, answer.label))


def _offer_downloads(
    name: str, answer: Prediction, pixels: np.ndarray, overlay: np.ndarray, *, colour_map: str, opacity: float
) -> None:
    def report() -> str:
        made = datetime.now(UTC)
        return report_html(name, answer, pixels, overlay, colour_map=colour_map, opacity=opacity, made=made)

    stem, png = PurePath(name).stem, encode_rgb_png(overlay)
    with st.container(horizontal=True):
        st.download_button("Save overlay", png, f"{stem}-overlay.png", "image/png", icon=":material/image:", on_click="ignore")
        icon = ":material/description:"
        st.download_button("Save report", report, f"{stem}-report.html", "text/html", icon=icon, on_click="ignore")


def _show_table(slices: list[Slice], results: Results) -> None:
    found = table.rows(slices, results)
    st.html(f"<h2>All slices</h2>{table.html(found)}")
    st.download_button("Save as CSV", table.csv_text(found), "slices.csv", "text/csv", icon=":material/table:", on_click="ignore")


def _pixels(chosen: Slice) -> np.ndarray:
    """Decode the chosen slice, uint8 [h, w, 3]; only the last one is kept, as a moved slider needs it again at once."""
    kept = st.session_state.get("decoded")
    if kept is None or kept[0] != chosen.id:
        kept = (chosen.id, scale_for_display(read_image(chosen.data).image))
        st.session_state["decoded"] = kept
    return kept[1]


def _caption(result: Prediction | RequestError) -> str:
    return "no answer" if isinstance(result, RequestError) else class_display_name(result.label)


def _plain(text: str) -> str:
    """Escape what Streamlit's labels would take for Markdown (CommonMark: a backslash before punctuation)."""
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]()<>#+-.!|~:$^" else sign for sign in text)
