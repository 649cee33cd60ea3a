"""Files that the browser did not deliver, and the document that it loads."""

import pytest

from tests.ui.fake_service import FakeService
from ui import index
from ui.batch import MAX_FILE_BYTES, Slice, explain_slice
from ui.client import ServiceClient
from ui.errors import MESSAGES, MISSING_FILE_ERRORS, UPLOAD_BY_STATUS, RequestError
from ui.metrics import UPLOADS
from ui.uploads import LIMIT_MB, upload_error

REASONS = {
    "Error: File must be 10.0MB or smaller.": "too_large",
    "Error: AxiosError: Request failed with status code 413": "upload_too_large",
    "Error: Request failed with status code 408": "upload_too_slow",
    "Error: Request failed with status code 504": "upload_too_slow",
    "Error: Request failed with status code 401": "upload_forbidden",
    "Error: Request failed with status code 403": "upload_forbidden",
    "Error: Request failed with status code 502": "upload_failed",
    "Error: Request failed with status code 400": "upload_failed",
    "Error: Network Error": "upload_failed",
    "Error: ": "upload_failed",
}


@pytest.mark.parametrize(("reason", "code"), REASONS.items())
def test_reason_of_the_uploader_gives_the_error(reason: str, code: str) -> None:
    assert upload_error(reason) == code


def test_limit_of_the_uploader_is_the_pages() -> None:
    assert LIMIT_MB * 1_000_000 == MAX_FILE_BYTES


@pytest.mark.parametrize("code", sorted(MISSING_FILE_ERRORS))
def test_file_that_did_not_arrive_is_an_error_without_a_request(code: str, fake_service: FakeService) -> None:
    assert set(UPLOAD_BY_STATUS.values()) < MISSING_FILE_ERRORS
    before = UPLOADS.labels("failed")._value.get()
    result = explain_slice(ServiceClient(fake_service.url), Slice("1", "a", b"", error=code))
    assert isinstance(result, RequestError)
    assert (str(result), result.is_retryable) == (MESSAGES[code], False)
    assert UPLOADS.labels("failed")._value.get() - before == (code != "forgotten")
    assert fake_service.requests == []


def test_document_is_streamlits_with_the_pages_title_and_script() -> None:
    document = index.index_html(0.5)
    assert "<title>Brain-tumour detection on MRI slices</title>" in document
    assert 'const SESSION_MINUTES = "0.5";' in document
    assert index.SCRIPT.read_text() in document
    assert document.index("SESSION_MINUTES") < document.index('<script type="module"')
    assert '<div id="root">' in document


def test_other_document_of_streamlit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "STREAMLIT_TITLE", "<title>Another</title>")
    with pytest.raises(ValueError, match=r"index\.html: expected <title>Another</title>"):
        index.index_html(10)
