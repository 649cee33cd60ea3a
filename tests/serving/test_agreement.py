"""One image, one answer, whichever way it is asked for."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from brain_tumor.images import read_image
from brain_tumor.overlay import render_overlay
from brain_tumor.phantoms import phantom_pngs
from components.saved_model import SavedModel
from tests.brain_tumor.test_images import EVERY
from tests.serving import clients
from tests.serving.clients import Answer
from tests.serving.conftest import Pair

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> SavedModel:
    return SavedModel(tiny_model)


def in_process(model: SavedModel, data: bytes) -> Answer:
    """What the SavedModel and the overlay's code say without any service."""
    image = read_image(data)
    row = {name: values[0] for name, values in model.run_signature("explain", [image.data]).items()}
    return Answer(row["probability"], row["label"], row["heatmap"], render_overlay(image.pixels, row["heatmap"]))


def assert_same(answer: Answer, wanted: Answer, what: str, tolerance: float = TOLERANCE) -> None:
    assert answer.label == wanted.label, what
    np.testing.assert_allclose(answer.probability, wanted.probability, atol=tolerance, rtol=0, err_msg=what)
    assert answer.heatmap is not None
    assert wanted.heatmap is not None
    np.testing.assert_allclose(answer.heatmap, wanted.heatmap, atol=tolerance, rtol=0, err_msg=what)
    if answer.overlay is not None and wanted.overlay is not None:
        assert answer.overlay.shape == wanted.overlay.shape, what
        # A level of 8 bits may round the other way.
        differ = (np.abs(answer.overlay.astype(int) - wanted.overlay) > 4).any(axis=2)
        assert differ.mean() < 0.01, what


@pytest.mark.parametrize("name", EVERY)
def test_every_row_of_the_decode_table_has_one_answer(name: str, service: Pair, model: SavedModel) -> None:
    data = EVERY[name][0]
    wanted = in_process(model, data)
    stored = read_image(data).data
    answers = {
        "/predict": clients.ask_predict(service.url, data),
        "V1": clients.ask_v1(service.url, [data])[0],
        "V2 REST": clients.ask_v2(service.url, [data])[0],
        "V2 REST, binary": clients.ask_v2_binary(service.url, [data])[0],
        "V2 gRPC": clients.ask_grpc(service.grpc, [data])[0],
        "predictor REST": clients.ask_predictor(service.predictor_url, [stored])[0],
        "predictor gRPC": clients.ask_predictor_grpc(service.predictor_grpc, [stored])[0],
    }
    for way, answer in answers.items():
        assert_same(answer, wanted, f"{name} by {way}")


def test_a_list_is_answered_in_its_order(service: Pair, model: SavedModel) -> None:
    images = [data for data, _ in EVERY.values()][:20] + phantom_pngs(12)
    wanted = [in_process(model, data) for data in images]
    for ask in (clients.ask_v1, clients.ask_v2, clients.ask_v2_binary):
        for index, answer in enumerate(ask(service.url, images)):
            assert_same(answer, wanted[index], f"{ask.__name__} [{index}]", tolerance=1e-3)
    for index, answer in enumerate(clients.ask_grpc(service.grpc, images)):
        assert_same(answer, wanted[index], f"gRPC [{index}]", tolerance=1e-3)


def test_images_that_come_at_once_keep_their_own_answers(service: Pair, model: SavedModel) -> None:
    images = phantom_pngs(16)
    wanted = [in_process(model, data) for data in images]
    assert len({answer.overlay.tobytes() for answer in wanted if answer.overlay is not None}) == 16
    with ThreadPoolExecutor(16) as pool:
        for _ in range(3):
            answers = list(pool.map(lambda data: clients.ask_predict(service.url, data), images))
            for index, answer in enumerate(answers):
                assert_same(answer, wanted[index], f"image {index}", tolerance=1e-3)


def test_predicting_gives_the_probability_of_explaining_and_no_heatmap(service: Pair) -> None:
    images = phantom_pngs(3)
    plain, explained = clients.ask_v1(service.url, images, "predict"), clients.ask_v1(service.url, images)
    plain_v2 = clients.ask_v2(service.url, images, explain=False)
    for one, v2, other in zip(plain, plain_v2, explained, strict=True):
        assert (one.label, v2.label) == (other.label, other.label)
        assert one.probability == pytest.approx(other.probability, abs=TOLERANCE)
        assert v2.probability == pytest.approx(other.probability, abs=TOLERANCE)
        assert one.heatmap is v2.heatmap is None
        assert one.overlay is v2.overlay is None
