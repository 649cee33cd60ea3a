"""The tab "Read slices": choose images, request predictions, inspect each result."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePath

import numpy as np
import streamlit as st

from brain_tumor.dicom import Window
from brain_tumor.overlay import OPACITY, render_overlay
from brain_tumor.png import encode_pixels
from ui import table
from ui.advice import ADVICE, OF_THE_IMAGE
from ui.batch import Result, Results, Slice, distinct_names, drop_retryable_errors, explain_all
from ui.client import Prediction, ServiceClient
from ui.errors import RequestError
from ui.formatting import class_display_name
from ui.html import render
from ui.report import report_html
from ui.result import colour_bar, overlay_figure, prediction_html, slice_figure
from ui.uploads import choose_files
from ui.window import View, chosen_window, offer_window, view_image

PHANTOMS = {
    "ring": "Ring-shaped lesion",
    "bright": "Bright lesion",
    "none": "No lesion",
    "none-t2": "No lesion, as in T2",
}
FOLDER = Path(__file__).parent / "phantoms"
LIST_HEIGHT_PX, LONG_LIST = 330, 6


def show(service: ServiceClient, colour_map: str, session_minutes: float) -> None:
    """Show the user's slices on one side and the chosen slice on the other."""
    results: Results = st.session_state.setdefault("results", {})
    inputs, viewer = st.columns([3, 7], gap="large")
    with inputs:
        slices = _choose_slices(session_minutes)
    with viewer:
        _explain_new(service, slices, results)
    if not slices:
        viewer.html(render("empty.html"))
        return
    with inputs:
        chosen = _choose_one(slices, results)
        if any(isinstance(result, RequestError) and result.is_retryable for result in results.values()):
            st.button("Try again", icon=":material/refresh:", on_click=drop_retryable_errors, args=(results,))
    with viewer:
        result = results[chosen.id]
        if isinstance(result, RequestError):
            st.html(render("heading.html", text=chosen.name) + render("error.html", error=result))
            images = result.images
        else:
            _show_prediction(chosen, result, colour_map)
            images = chosen.images
        if images > 1:
            _offer_images(chosen, images)
    _show_table(slices, results)


def _choose_slices(session_minutes: float) -> list[Slice]:
    slices = [_chosen_image(each) for each in choose_files("files", "MRI slices, one image each")]
    phantom = st.pills("Or a synthetic phantom", list(PHANTOMS), format_func=PHANTOMS.__getitem__, key="phantom", wrap=True)
    st.html(render("privacy.html", minutes=session_minutes))
    if phantom:
        slices.append(Slice(f"phantom {phantom}", f"phantom-{phantom}.png", (FOLDER / f"{phantom}.png").read_bytes()))
    return slices


def _chosen_image(file: Slice) -> Slice:
    if file.id not in _chosen_images():
        return file
    frame, images = _chosen_images()[file.id]
    return Slice(f"{file.id}#{frame}", f"{file.name} (image {frame})", file.data, frame, images)


def _chosen_images() -> dict[str, tuple[int, int]]:
    """Return the number of the chosen image, and of all, in each file with several, by the upload's identifier."""
    chosen: dict[str, tuple[int, int]] = st.session_state.setdefault("images", {})
    return chosen


def _offer_images(chosen: Slice, count: int) -> None:
    """Let the user choose one of the images in a file."""
    key = f"image {chosen.id}"

    def choose() -> None:
        if frame := st.session_state[key]:
            _chosen_images()[chosen.id.partition("#")[0]] = (frame, count)

    st.number_input(f"Image in this file, 1 to {count}", 1, count, value=chosen.frame, key=key, on_change=choose)


def _explain_new(service: ServiceClient, slices: list[Slice], results: Results) -> None:
    """Request predictions for new slices with a progress bar, and choose the first of them."""
    bar = st.empty()

    def on_progress(done: int, total: int) -> None:
        bar.progress(done / total, f"Analysing slice {done + 1} of {total}")

    new = explain_all(service, slices, results, on_progress=on_progress)
    bar.empty()
    ids = [each.id for each in slices]
    if new:
        st.session_state["chosen"] = new[0].id
    elif ids and st.session_state.get("chosen") not in ids:
        st.session_state["chosen"] = ids[0]


def _choose_one(slices: list[Slice], results: Results) -> Slice:
    names = distinct_names(slices)
    by_id = {each.id: replace(each, name=names[each.id]) for each in slices}
    if len(slices) == 1:
        return slices[0]
    with st.container(height=LIST_HEIGHT_PX if len(slices) > LONG_LIST else "content", border=len(slices) > LONG_LIST):
        chosen = st.radio(
            f"{len(slices)} slices",
            list(by_id),
            format_func=lambda id_: _literal(by_id[id_].name),
            captions=[_caption(results[id_]) for id_ in by_id],
            key="chosen",
        )
    return by_id[chosen]


@st.fragment
def _show_prediction(chosen: Slice, prediction: Prediction, colour_map: str) -> None:
    """Show the prediction for one slice. A moved slider reruns this fragment alone."""
    window = chosen_window(_window_key(chosen))
    view = _view(chosen, window)
    st.html(render("heading.html", text=chosen.name) + prediction_html(prediction))
    image, heat = st.columns(2)
    scale, controls = st.columns([3, 2], gap="large")
    with controls:
        opacity = st.slider("Opacity of the overlay", 0, 100, round(OPACITY * 100), 5, format="%d %%", key="opacity") / 100
        overlay = render_overlay(view.pixels, prediction.heatmap, colour_map=colour_map, opacity=opacity)
        offer_window(_window_key(chosen), view)
        _offer_downloads(chosen.name, prediction, view.pixels, overlay, colour_map=colour_map, opacity=opacity, window=window)
    image.html(slice_figure(view.pixels, window))
    heat.html(overlay_figure(overlay, prediction))
    scale.html(colour_bar(colour_map, prediction))


def _offer_downloads(
    name: str,
    prediction: Prediction,
    pixels: np.ndarray,
    overlay: np.ndarray,
    *,
    colour_map: str,
    opacity: float,
    window: Window | None,
) -> None:
    def report() -> str:
        created = datetime.now(UTC)
        return report_html(
            name, prediction, pixels, overlay, colour_map=colour_map, opacity=opacity, created=created, window=window
        )

    stem, png = PurePath(name).stem, encode_pixels(overlay)
    with st.container(horizontal=True):
        st.download_button("Save overlay", png, f"{stem}-overlay.png", "image/png", icon=":material/image:", on_click="ignore")
        icon = ":material/description:"
        st.download_button("Save report", report, f"{stem}-report.html", "text/html", icon=icon, on_click="ignore")


def _show_table(slices: list[Slice], results: Results) -> None:
    rows = table.rows(slices, results)
    st.html(table.html(rows))
    data = table.csv_text(rows).encode("utf-8-sig")  # with a byte order mark, without which Excel takes it for another encoding
    st.download_button("Save as CSV", data, "slices.csv", "text/csv", icon=":material/table:", on_click="ignore")


def _window_key(chosen: Slice) -> str:
    return f"window {chosen.id}"


def _view(chosen: Slice, window: Window | None) -> View:
    """Decode the chosen slice. Only the last view is kept, as a moved slider needs it again at once."""
    kept = st.session_state.get("decoded")
    if kept is None or kept[0] != (chosen.id, window):
        kept = ((chosen.id, window), view_image(chosen.data, chosen.frame, window))
        st.session_state["decoded"] = kept
    view: View = kept[1]
    return view


def _caption(result: Result) -> str:
    if isinstance(result, RequestError):
        return "failed"
    warnings = [ADVICE[code].name.lower() for code in result.warning_codes if code in OF_THE_IMAGE]
    return ", ".join([class_display_name(result.label), *warnings])


def _literal(text: str) -> str:
    """Write a text as a Markdown code span, in which Streamlit changes neither entities nor arrows, links and icons.

    The fence is longer than any run of backticks in the text (CommonMark 6.1); style.css gives it the font of the label.
    """
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    return f"{fence} {text} {fence}"
