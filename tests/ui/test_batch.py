"""The batch of slices in front of a fake service."""

from PIL import Image

from brain_tumor.phantoms import phantom_pngs
from serving.settings import Settings as ServiceSettings
from tests.brain_tumor.test_images import encode
from tests.brain_tumor.test_unsupported import NAMED
from tests.ui.fake_service import FakeService
from ui.batch import MAX_FILE_BYTES, Results, Slice, drop_retryable_errors, explain_all, explain_slice
from ui.client import Prediction, ServiceClient
from ui.errors import IMAGE_ERRORS, RequestError
from ui.metrics import UPLOADS

PNG = phantom_pngs(1)[0]
STACK = encode(
    Image.new("L", (8, 8)), "TIFF", save_all=True, append_images=[Image.new("L", (8, 8), level) for level in (90, 180)]
)
INVISIBLE = encode(Image.new("LA", (8, 8)), "PNG")


def test_image_is_sent_with_the_token_and_without_its_file_name(fake_service: FakeService) -> None:
    explain_all(ServiceClient(fake_service.url, "s3cret"), [Slice("1", "Mueller.png", PNG)], {}, on_progress=lambda *_: None)
    ((path, headers, body),) = fake_service.requests
    assert path == "/predict?explain=true"
    assert headers["authorization"] == "Bearer s3cret"
    assert PNG in body
    assert b"Mueller" not in body
    ServiceClient(fake_service.url).explain(PNG)
    assert "authorization" not in fake_service.requests[-1][1]


def test_invalid_image_is_rejected_without_a_request(fake_service: FakeService) -> None:
    assert ServiceSettings.model_construct().max_file_bytes == MAX_FILE_BYTES
    big = PNG + bytes(MAX_FILE_BYTES)
    expected = {b"no image": "not_an_image", PNG[:500]: "corrupt", NAMED["NIfTI"][0]: "unsupported_type", big: "too_large"}
    expected |= {STACK: "several_images", INVISIBLE: "invisible"}
    before = UPLOADS.labels("refused")._value.get()
    for data, code in expected.items():
        result = explain_slice(ServiceClient(fake_service.url), Slice("1", "a", data))
        assert isinstance(result, RequestError)
        assert (result.code, result.is_retryable) == (code, False)
    assert set(expected.values()) == IMAGE_ERRORS
    assert fake_service.requests == []
    assert UPLOADS.labels("refused")._value.get() - before == len(expected)


def test_batch_requests_new_slices_and_retries_failed_ones(fake_service: FakeService) -> None:
    service = ServiceClient(fake_service.url)
    results: Results = {}
    steps: list[tuple[int, int]] = []
    slices = [Slice("1", "a", PNG), Slice("2", "b", b"no image")]
    fake_service.status = 503
    assert explain_all(service, slices, results, on_progress=lambda *progress: steps.append(progress)) == slices
    assert steps == [(0, 2), (1, 2)]
    fake_service.status = 200
    assert explain_all(service, slices, results, on_progress=lambda *_: None) == []
    drop_retryable_errors(results)
    assert explain_all(service, slices, results, on_progress=lambda *_: None) == slices[:1]
    assert isinstance(results["1"], Prediction)
    assert explain_all(service, slices[1:], results, on_progress=lambda *_: None) == []
    assert results.keys() == {"2"}


def test_chosen_image_of_several_is_requested(fake_service: FakeService) -> None:
    service = ServiceClient(fake_service.url)
    several = explain_slice(service, Slice("1", "a", STACK))
    assert isinstance(several, RequestError)
    assert (several.code, several.images) == ("several_images", 3)
    assert isinstance(explain_slice(service, Slice("1", "a", STACK, frame=2)), Prediction)
    ((path, _, body),) = fake_service.requests
    assert path == "/predict?explain=true&frame=2"
    assert STACK in body
