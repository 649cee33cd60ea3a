"""The tab "Read a series": choose the files of a series, let the service read them, and go through its slices."""

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import streamlit as st

from brain_tumor.dicom import Window
from brain_tumor.errors import ImageError
from brain_tumor.overlay import OPACITY, render_overlay
from ui import series_result, table
from ui.client import ServiceClient
from ui.errors import REJECTED, RequestError
from ui.formatting import format_probability
from ui.html import render
from ui.metrics import SERIES
from ui.plots import CLICKED, series_plot
from ui.result import colour_bar, overlay_figure, slice_figure
from ui.series_answer import SeriesAnswer
from ui.series_files import SeriesFiles
from ui.settings import Settings
from ui.uploads import choose_files
from ui.window import View, chosen_window, offer_window, view_image

LABEL = "The DICOM files of one series, or one zip of them"


@dataclass
class Reading:
    """A series that the service was asked to read.

    Attributes:
        uploads: Identifiers of the user's files.
        files: The files.
        result: The answer, or the error.
        heatmaps: Heatmap, float32 [h, w], 0-1, of each slice by its index, as far as the service has returned it.
        key: Prefix of the keys of this reading's widgets.
    """

    uploads: tuple[str, ...]
    files: SeriesFiles
    result: SeriesAnswer | RequestError
    heatmaps: dict[int, np.ndarray] = field(default_factory=dict)
    key: str = field(default_factory=lambda: f"series {secrets.token_hex(8)}")

    def view(self, answer: SeriesAnswer, index: int, window: Window | None) -> View:
        """Decode a slice for display.

        Raises:
            RequestError: It cannot be decoded.
        """
        chosen = answer.slices[index]
        try:
            return view_image(self.files.read(chosen.file), chosen.frame, window)
        except ImageError as error:
            raise RequestError(error.code, file=chosen.file) from error

    def heatmap(self, service: ServiceClient, answer: SeriesAnswer, index: int) -> np.ndarray:
        """Return the heatmap of a slice; one that the answer lacks is requested once.

        Raises:
            RequestError: The service returns none, or has another model by now.
        """
        if index not in self.heatmaps:
            chosen = answer.slices[index]
            prediction = service.explain(self.files.read(chosen.file), chosen.frame)
            if prediction.version != answer.version:
                raise RequestError("model_changed")
            self.heatmaps[index] = prediction.heatmap
        return self.heatmaps[index]


def show(service: ServiceClient, settings: Settings) -> None:
    """Show the files on one side, and the slices of the series on the other."""
    kept: dict[str, Reading] = st.session_state.setdefault("series", {})
    inputs, viewer = st.columns([3, 7], gap="large")
    with inputs:
        uploads = choose_files("series", LABEL, settings.max_series_bytes >> 20)
        analyse = st.button("Analyse", type="primary", icon=":material/play_arrow:", disabled=not uploads)
        st.html(render("privacy.html", minutes=settings.session_minutes))
    ids = tuple(each.id for each in uploads)
    if "reading" in kept and kept["reading"].uploads != ids:
        del kept["reading"]  # and with it the files
    with viewer:
        if analyse:
            _read(service, ids, SeriesFiles(uploads), kept, settings)
        reading = kept.get("reading")
        if reading is None:
            st.html(render("series_empty.html"))
        elif isinstance(reading.result, RequestError):
            _show_error(reading.files, reading.result)
        else:
            inputs.html(series_result.summary_html(reading.result))
            _show_slices(service, reading, reading.result, settings.colour_map)


def _read(service: ServiceClient, ids: tuple[str, ...], files: SeriesFiles, kept: dict[str, Reading], settings: Settings) -> None:
    """Request the predictions for a series, and keep them at once: what the user did meanwhile ends this run of the page."""
    size = f"{sum(map(len, files.parts)) / 1_000_000:.1f} MB"
    with st.spinner(f"Analysing the series of {size}, for up to {settings.series_seconds:g} s", show_time=True):
        try:
            files.check(settings.max_series_bytes)
            answer = service.read_series(files.parts, settings.series_seconds)
            kept["reading"] = Reading(ids, files, answer, dict(answer.heatmaps))
            SERIES.labels("answered").inc()
        except RequestError as error:
            kept["reading"] = Reading(ids, files, error)
            SERIES.labels("refused" if error.code in REJECTED else "failed").inc()


def _show_error(files: SeriesFiles, error: RequestError) -> None:
    name = files.name(error.file) if error.file is not None else ""
    st.html(render("series_error.html", name=name, error=error))


@st.fragment
def _show_slices(service: ServiceClient, reading: Reading, answer: SeriesAnswer, colour_map: str) -> None:
    """Show the chosen slice with its overlay, and the line under them. A moved slider reruns this fragment alone."""
    heading = st.empty()
    image, heat = (column.empty() for column in st.columns(2))
    index = _choose_slice(reading.key, answer)
    window = chosen_window(reading.key)
    try:
        view = reading.view(answer, index, window)
    except RequestError as error:
        heading.html(series_result.slice_html(answer, index))
        image.html(render("error.html", error=error))
        heat.empty()
        return
    if index not in reading.heatmaps:
        heat.html(render("series_waiting.html"))  # not the overlay of another slice
    heading.html(series_result.slice_html(answer, index))
    image.html(slice_figure(view.pixels, window))
    _show_line(reading.key, answer, index)
    of_image, of_heat = st.columns(2)
    with of_image:
        offer_window(reading.key, view)
    with of_heat:
        opacity = st.slider("Opacity of the overlay", 0, 100, round(OPACITY * 100), 5, format="%d %%", key="series opacity") / 100
    try:
        prediction = series_result.prediction_of(answer, index, reading.heatmap(service, answer, index))
        overlay = render_overlay(view.pixels, prediction.heatmap, colour_map=colour_map, opacity=opacity)
        heat.html(overlay_figure(overlay, prediction))
        of_heat.html(colour_bar(colour_map, prediction))
    except RequestError as error:
        heat.html(render("error.html", error=error))
    _offer_downloads(reading, answer, colour_map)


def _choose_slice(key: str, answer: SeriesAnswer) -> int:
    """Show the slider of the slices, and return the index of the chosen one, at first of the highest."""
    chosen = f"{key} slice"
    st.session_state.setdefault(chosen, answer.peak + 1)
    if len(answer.slices) > 1:
        st.slider("Slice", 1, len(answer.slices), key=chosen)
    return int(st.session_state[chosen]) - 1


def _show_line(key: str, answer: SeriesAnswer, index: int) -> None:
    """Show the probability along the series, in which a click chooses a slice, and buttons for the highest ones."""
    points = [
        {"slice": number, "probability": each.tumor_probability, "position": series_result.position_text(each)}
        for number, each in enumerate(answer.slices, 1)
    ]
    highest, description = [number + 1 for number in answer.heatmaps], series_result.description(answer)
    chart = series_plot(
        points,
        threshold=answer.threshold,
        chosen=index + 1,
        highest=highest,
    )

    def choose(number: int) -> None:
        st.session_state[f"{key} slice"] = number

    def click() -> None:
        for point in st.session_state[f"{key} line"].selection.get(CLICKED, []):
            choose(int(point["slice"]))

    st.altair_chart(chart, width="stretch", key=f"{key} line", on_select=click, alt=description)
    st.html(render("series_legend.html", threshold=answer.threshold))
    with st.container(horizontal=True):
        for number in highest:
            probability = format_probability(answer.slices[number - 1].tumor_probability)
            st.button(f"Slice {number}: {probability}", key=f"{key} to {number}", on_click=choose, args=(number,))


def _offer_downloads(reading: Reading, answer: SeriesAnswer, colour_map: str) -> None:
    def report() -> str:
        pixels = {index: reading.view(answer, index, None).pixels for index in answer.heatmaps}
        return series_result.report_html(answer, pixels, colour_map=colour_map, created=datetime.now(UTC))

    def rows() -> bytes:
        names = [reading.files.name(each.file) for each in answer.slices]
        return table.csv_text(series_result.rows(answer, names)).encode("utf-8-sig")

    with st.expander("The numbers of all slices"):
        st.html(series_result.table_html(answer))
    with st.container(horizontal=True):
        icon = ":material/description:"
        st.download_button("Save report of the series", report, "series-report.html", "text/html", icon=icon, on_click="ignore")
        st.download_button("Save series as CSV", rows, "series.csv", "text/csv", icon=":material/table:", on_click="ignore")
