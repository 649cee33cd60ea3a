"""The view of an image: its pixels by a window of grey levels, and the sliders of that window (DICOM PS3.3 C.11.2.1.2)."""

from dataclasses import dataclass

import numpy as np
import streamlit as st
from PIL import Image

from brain_tumor.dicom import Window, is_dicom, read_dicom
from brain_tumor.images import MAX_PIXELS, read_image
from ui.html import render
from ui.result import scale_for_display

MIN_LEVELS = 2.0  # a window of fewer levels shows black and white alone
STEPS = 100  # of a slider, if the levels are closer together than whole numbers


@dataclass(frozen=True)
class View:
    """An image as displayed.

    Attributes:
        pixels: uint8 [height, width, 3], 0-255.
        window: Window by which it is displayed; None if it has none: another format, colours, or a VOI LUT.
        levels: Lowest and highest grey level of the image, in the units of the window; None for another format or colours.
    """

    pixels: np.ndarray
    window: Window | None = None
    levels: tuple[float, float] | None = None


def view_image(data: bytes, frame: int | None, window: Window | None) -> View:
    """Decode an image for display.

    Args:
        data: Encoded image.
        frame: Number of the image in a file with several, from 1.
        window: Window of a DICOM file; None for its own.

    Raises:
        ImageError: As `brain_tumor.images.read_image`.
    """
    if not is_dicom(data):
        return View(scale_for_display(read_image(data, frame=frame).image))
    dicom = read_dicom(data, MAX_PIXELS, frame, window)
    return View(scale_for_display(Image.fromarray(dicom.pixels)), dicom.window, dicom.levels)


def chosen_window(key: str) -> Window | None:
    """Return the window that the user chose with the sliders of `key`; None for the file's own."""
    window: Window | None = st.session_state.get(key)
    return window


def offer_window(key: str, view: View) -> None:
    """Show the sliders of a view's window, if it has one, and remember the user's choice under `key`."""
    if view.window is None or view.levels is None or view.levels[1] - view.levels[0] < MIN_LEVELS:
        return
    (lowest, highest), (center, width) = view.levels, view.window
    step = 1.0 if highest - lowest >= STEPS else (highest - lowest) / STEPS
    precision = "%.0f" if step == 1 else "%.2f"
    level_key, width_key = f"{key} level", f"{key} width"

    def choose() -> None:
        st.session_state[key] = Window(st.session_state[level_key], st.session_state[width_key])

    st.session_state[level_key], st.session_state[width_key] = center, width
    for label, minimum, maximum, slider in (
        ("Window level", min(lowest, center), max(highest, center), level_key),
        ("Window width", min(1.0, width), max(highest - lowest, width), width_key),
    ):
        st.slider(label, minimum, maximum, step=step, format=precision, key=slider, on_change=choose)
    st.html(render("window.html"))
    st.button(
        "Reset the window",
        key=f"{key} reset",
        icon=":material/restart_alt:",
        on_click=st.session_state.pop,
        args=(key, None),
        disabled=chosen_window(key) is None,
    )
