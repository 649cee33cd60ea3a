"""The files that a user chose: those that arrived, those that did not, and those that a lost session had."""

import re
import secrets
from collections import Counter
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import DeletedFile

from ui.batch import Slice
from ui.errors import UPLOAD_BY_STATUS

LIMIT_MB = 10  # of the uploader, whose MB are megabytes, and mebibytes on Windows: there explain_slice rejects the file
FAILED = "This file was not read. The page says why."
UNKNOWN_NAME = "unknown file"
ESCAPED = {"%22": '"', "%0D": "\r", "%0A": "\n"}  # by the browser, in the name of a file in a form (WHATWG HTML)

_watch = st.components.v2.component("uploads", js=Path(__file__).with_name("uploads.js").read_text(encoding="utf-8"))


def choose_files(name: str, label: str, limit_mb: int = LIMIT_MB) -> list[Slice]:
    """Show an uploader, and return one slice per file, those first that arrived.

    A slice without data has an error: the browser or a proxy did not deliver the file, or the session that had it is gone.

    Args:
        name: Name of the uploader among those of the page.
        label: Label of the uploader.
        limit_mb: Maximum size of a file.
    """
    # A new session has none of the files that the browser still lists. Its uploader has another key, and so is empty.
    session = st.session_state.setdefault("session", secrets.token_hex(8))
    key = f"{name}-{session}"
    files = st.file_uploader(label, accept_multiple_files=True, key=key, max_upload_size=limit_mb)
    arrived = [Slice(file.file_id, _unescape(file.name), file.getvalue()) for file in files]
    found = _watch(
        key=f"uploads-{key}",
        data={"uploader": name, "session": session, "words": FAILED},
        default={"failed": [], "forgotten": []},
        on_failed_change=lambda: None,
        on_forgotten_change=lambda: None,
    )
    failed = [(str(each["name"]), upload_error(str(each["reason"]))) for each in found.failed]
    # A proxy's page for logging in makes the browser believe that the file arrived.
    failed += [(UNKNOWN_NAME, "upload_failed") for each in st.session_state[key] if isinstance(each, DeletedFile)]
    if not st.session_state.get(f"forget {name}"):
        chosen_again = Counter([*(each.name for each in arrived), *(each for each, _ in failed)])
        failed += [(each, "forgotten") for each in (Counter(found.forgotten) - chosen_again).elements()]
    if any(code == "forgotten" for _, code in failed):
        forget = {f"forget {name}": True}
        st.button("Remove the lost files", key=f"forget-{key}", on_click=st.session_state.update, args=(forget,))
    return arrived + [Slice(f"{code} {index} {each}", each, b"", error=code) for index, (each, code) in enumerate(failed)]


def upload_error(reason: str) -> str:
    """Return the error code for the uploader's reason: a sentence with the HTTP status, or about the size of the file."""
    if "or smaller" in reason:
        return "too_large"
    status = re.search(r"status code (\d+)", reason)
    return UPLOAD_BY_STATUS.get(int(status[1]) if status else 0, "upload_failed")


def _unescape(name: str) -> str:
    for escaped, character in ESCAPED.items():
        name = name.replace(escaped, character)
    return name
