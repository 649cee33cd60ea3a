"""The web page. Streamlit runs this file again on every interaction of a user."""

from pathlib import Path

import streamlit as st

from brain_tumor.model_card import NOTICE
from ui import model, series, slices
from ui.client import ServiceClient
from ui.errors import RequestError
from ui.html import render
from ui.settings import Settings

FOLDER = Path(__file__).parent
STATE_INTERVAL_SECONDS = 10
READ, SERIES, MODEL = "Read slices", "Read a series", "The model"


@st.fragment(run_every=STATE_INTERVAL_SECONDS)
def show_state(service: ServiceClient) -> None:
    """Show whether the service is ready, and its model version. Runs again while the page is open."""
    try:
        service.check_ready()
        version = service.model_card()["version"]
        st.html(render("service_state.html", ready=True, text=f"Service ready: model version {version}"))
    except RequestError as error:
        st.html(render("service_state.html", ready=False, text=f"Service not ready. {error}"))


settings = Settings()
service = ServiceClient(settings.api_url, settings.api_token)

st.set_page_config("Brain-tumour detection on MRI slices", page_icon=FOLDER / "phantoms" / "ring.png", layout="wide")
st.html(FOLDER / "style.css")
head, state = st.columns([7, 4], vertical_alignment="bottom")
head.html(render("header.html", notice=NOTICE))
read_tab, series_tab, model_tab = st.tabs([READ, SERIES, MODEL], key="view", on_change="rerun", bind="query-params")
with read_tab:
    slices.show(service, settings.colour_map, settings.session_minutes)
with series_tab:
    series.show(service, settings)
if model_tab.open:
    with model_tab:
        model.show(service)
with state:  # last, so that an unresponsive service delays nothing else
    show_state(service)
