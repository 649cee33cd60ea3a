"""The page; Streamlit runs this file anew whenever a reader does something."""

import os
from html import escape
from pathlib import Path

import streamlit as st

from brain_tumor.model_card import NOTICE
from ui import model, slices
from ui.client import ServiceClient
from ui.errors import RequestError
from ui.settings import Settings

FOLDER = Path(__file__).parent
STATE_EVERY_SECONDS = 10
READ, MODEL = "Read slices", "The model"


@st.fragment(run_every=STATE_EVERY_SECONDS)
def show_state(service: ServiceClient) -> None:
    """Say whether the service answers, and with which version, for as long as the page is open."""
    try:
        service.check_ready()
        version = escape(str(service.model_card()["version"]))
        st.html(f'<p class="state ready" role="status"><i></i>Service ready: model version {version}</p>')
    except RequestError as problem:
        st.html(f'<p class="state away" role="status"><i></i>Service not ready. {problem}</p>')


settings = Settings.from_environment(os.environ)
service = ServiceClient(settings.api_url, settings.api_token)

st.set_page_config("Brain-tumour detection on MRI slices", page_icon=FOLDER / "phantoms" / "ring.png", layout="wide")
st.html(FOLDER / "style.css")
head, state = st.columns([7, 4], vertical_alignment="bottom")
head.html(f'<h1>Brain-tumour detection on MRI slices</h1><p class="notice" role="note">{NOTICE}</p>')
read_tab, model_tab = st.tabs([READ, MODEL], key="view", on_change="rerun", bind="query-params")
with read_tab:
    slices.show(service, settings.colour_map)
if model_tab.open:
    with model_tab:
        model.show(service)
with state:  # last, so that a service that is silent holds up nothing else
    show_state(service)
