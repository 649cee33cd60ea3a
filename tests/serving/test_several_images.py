"""A file with several images: refused with their number, unless `frame` chooses one, in every protocol."""

from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferInput, InferRequest
from PIL import Image

from tests.brain_tumor.test_frames import several
from tests.serving import clients
from tests.serving.brightness_model import grey_png
from tests.serving.clients import INFER, V1
from tests.serving.conftest import Pair

LEVELS = (51, 102, 153)
STACK = several("TIFF", [Image.new("L", (64, 48), level) for level in LEVELS])
ANIMATION = several("WEBP", [Image.new("L", (64, 48), level) for level in LEVELS], lossless=True)
ONE = grey_png(204)
BOTH = pytest.mark.parametrize("data", [STACK, ANIMATION], ids=["TIFF", "WebP"])


def post(service: Pair, data: bytes, query: str = "", **form: object) -> httpx.Response:
    return httpx.post(f"{service.url}/predict{query}", files=clients.form(data), data=form)


def v1(service: Pair, *images: tuple[bytes, object], bare: bool = False, verb: str = "predict") -> httpx.Response:
    instances = [clients.b64(data) if bare else {"image_bytes": clients.b64(data)} for data, _ in images]
    chosen = [
        instance | ({} if frame is None else {"frame": frame}) for instance, (_, frame) in zip(instances, images, strict=True)
    ]
    return httpx.post(f"{service.url}{V1}:{verb}", json={"instances": chosen})


def v2(service: Pair, images: list[bytes], *, of_tensor: bool = False, **parameters: object) -> httpx.Response:
    body: dict[str, Any] = clients.tensors(images, explain=False)
    (body["inputs"][0] if of_tensor else body)["parameters"] = parameters
    return httpx.post(f"{service.url}{INFER}", json=body)


def over_grpc(service: Pair, images: list[bytes], *, of_tensor: bool = False, **parameters: object) -> float:
    tensor = InferInput("image_bytes", [len(images)], "BYTES", parameters=parameters if of_tensor else None)
    tensor.set_data_from_numpy(np.array(images, dtype=np.object_))
    request = InferRequest("brain-tumor", [tensor], parameters=None if of_tensor else parameters)
    response = clients.infer(service.grpc, request)
    return float(np.frombuffer(response.raw_output_contents[0], np.float32)[0])


@BOTH
def test_several_images_are_refused_with_their_number(data: bytes, brightness_service: Pair) -> None:
    name = "TIFF" if data is STACK else "WEBP"
    message = f"the {name} file holds 3 images, expected one; choose with `frame`, 1 to 3"
    expected = {"code": "several_images", "error": message}
    responses = [post(brightness_service, data), post(brightness_service, data, "?explain=true")]
    assert [(response.status_code, response.json()) for response in responses] == [(400, expected)] * 2
    for response, prefix in (
        (v1(brightness_service, (ONE, None), (data, None)), "instances[1]: "),
        (v1(brightness_service, (data, None), verb="explain"), "instances[0]: "),
        (v2(brightness_service, [ONE, data]), "image_bytes[1]: "),
    ):
        assert (response.status_code, response.json()) == (400, expected | {"error": prefix + message})
    with pytest.raises(grpc.RpcError) as rejected:
        over_grpc(brightness_service, [data])
    assert rejected.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in rejected.value.details()


@BOTH
def test_frame_chooses_an_image_in_every_protocol(data: bytes, brightness_service: Pair) -> None:
    for frame, level in enumerate(LEVELS, 1):
        of_image = [
            post(brightness_service, data, f"?frame={frame}").json(),
            post(brightness_service, data, frame=str(frame)).json(),
            post(brightness_service, data, f"?frame={frame}&explain=true", frame=str(frame)).json(),
            *v1(brightness_service, (data, frame)).json()["predictions"],
            *v1(brightness_service, (data, frame), bare=True, verb="explain").json()["predictions"],
        ]
        found = [prediction["probability"] for prediction in of_image]
        found += [
            v2(brightness_service, [data], frame=frame, of_tensor=side).json()["outputs"][0]["data"][0] for side in (True, False)
        ]
        found += [over_grpc(brightness_service, [data], frame=frame, of_tensor=side) for side in (True, False)]
        assert found == pytest.approx([level / 255] * 9, abs=1e-5)


def test_frames_are_chosen_for_each_instance(brightness_service: Pair) -> None:
    response = v1(brightness_service, (STACK, 3), (ONE, None), (ANIMATION, 1), (ONE, 1))
    found = [prediction["probability"] for prediction in response.json()["predictions"]]
    assert found == pytest.approx([level / 255 for level in (153, 204, 51, 204)], abs=1e-5)


@pytest.mark.parametrize("frame", [-1, 0, 4])
def test_frame_outside_the_file_is_400(frame: int, brightness_service: Pair) -> None:
    message = f"frame: got {frame}, expected 1 to 3, the number of images in the file"
    for response in (
        post(brightness_service, STACK, f"?frame={frame}"),
        post(brightness_service, STACK, frame=str(frame)),
        v1(brightness_service, (STACK, frame)),
        v2(brightness_service, [STACK], frame=frame),
    ):
        assert (response.status_code, response.json()["code"]) == (400, "bad_request")
        assert response.json()["error"].endswith(message)
    with pytest.raises(grpc.RpcError, match=message) as rejected:
        over_grpc(brightness_service, [STACK], frame=frame)
    assert rejected.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert post(brightness_service, ONE, "?frame=2").json()["error"].startswith("frame: got 2, expected 1 to 1")


def test_frame_that_is_no_number_is_422(brightness_service: Pair) -> None:
    values: list[object] = ["2", 2.0, True, [2], {}]
    responses = [v1(brightness_service, (STACK, value)) for value in values]
    responses += [v2(brightness_service, [STACK], frame=value) for value in values[:3]]
    responses += [post(brightness_service, STACK, f"?frame={value}") for value in ("", "x", "1.5")]
    responses += [post(brightness_service, STACK, frame="x"), post(brightness_service, STACK, "?frame=1", frame="2")]
    for response in responses:
        assert (response.status_code, response.json()["code"]) == (422, "wrong_shape")
        assert "frame" in response.json()["error"]


def test_v2_frame_is_for_a_tensor_of_one_element(brightness_service: Pair) -> None:
    message = "parameter `frame`: got 2 elements, expected a tensor of one"
    response = v2(brightness_service, [STACK, STACK], frame=1)
    assert (response.status_code, response.json()) == (422, {"error": message, "code": "wrong_shape"})
    with pytest.raises(grpc.RpcError, match=message):
        over_grpc(brightness_service, [STACK, STACK], frame=1)
