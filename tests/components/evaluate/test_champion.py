"""A candidate compared with the champion of a real registry."""

import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from brain_tumor.file_digests import write_file_digests
from brain_tumor.model_card import MODEL_CARD_PATH, MODEL_NAME, TRAINING_HASHES
from components.evaluate.champion import MIN_IMAGES
from components.registry import CHAMPION, connect
from tests.components.evaluate.conftest import BINARY, FOUR, LabelledImage, Run, export, flat

Prepare = Callable[..., Run]


@pytest.fixture(scope="session")
def low_threshold_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like `binary_model`, but with a threshold of 0.3."""
    return export(tmp_path_factory.mktemp("low_threshold"), BINARY, 0.3)


@pytest.fixture
def registry(empty_registry: Path, tmp_path: Path) -> str:
    """Return the URI of an empty registry."""
    return f"sqlite:///{shutil.copy(empty_registry, tmp_path)}"


@pytest.fixture
def make_champion(registry: str) -> Callable[..., str]:
    """Return a function that makes a folder the champion of a registry and returns the registry's URI."""

    def register(folder: Path, *, trained_on: str = "") -> str:
        (folder / TRAINING_HASHES).write_text(trained_on)
        client = connect(registry)
        client.create_registered_model(MODEL_NAME)
        version = client.create_model_version(MODEL_NAME, source=str(folder))
        client.set_registered_model_alias(MODEL_NAME, CHAMPION, version.version)
        return registry

    return register


def dim_tumors(count: int = 20) -> list[LabelledImage]:
    """Return healthy images up to 0.2 bright, and tumours; a threshold of 0.3 finds all tumours, 0.5 only some."""
    healthy = [flat(0.05 + i * 0.008, "no_tumor", i) for i in range(count)]
    return healthy + [flat((0.35 if i % 2 else 0.6) + i * 0.008, "tumor", count + i) for i in range(count)]


def test_candidate_below_the_champion_is_not_promoted(
    prepare: Prepare, binary_model: Path, low_threshold_model: Path, make_champion: Callable[..., str]
) -> None:
    run = prepare(binary_model, dim_tumors())
    evaluation = run(tracking_uri=make_champion(low_threshold_model), min_recall=0)
    found = sum(0.35 + i * 0.008 >= 0.5 for i in range(1, 20, 2))
    assert evaluation["champion"] == {
        "version": 1,
        "images": 40,
        "reason": "",
        "accuracy": (30 + found) / 40,
        "champion_accuracy": 1.0,
        "share_below": pytest.approx(1, abs=2e-3),
    }
    (reason,) = evaluation["verdict"]["reasons"]
    assert reason.startswith(f"Accuracy is {(30 + found) / 40:.3f}, below 1.000 of the champion, version 1, in 100%")
    assert "This model has the lower accuracy in 100 % of the bootstrap resamples" in run.report.read_text()


def test_candidate_above_the_champion_is_promoted(
    prepare: Prepare, binary_model: Path, low_threshold_model: Path, make_champion: Callable[..., str]
) -> None:
    evaluation = prepare(low_threshold_model, dim_tumors())(tracking_uri=make_champion(binary_model))
    assert evaluation["champion"]["share_below"] == 0
    assert evaluation["verdict"]["passed"]


def test_candidate_equal_to_the_champion_is_promoted(
    prepare: Prepare, binary_model: Path, make_champion: Callable[..., str]
) -> None:
    evaluation = prepare(binary_model, dim_tumors())(tracking_uri=make_champion(binary_model), min_recall=0)
    assert evaluation["champion"]["share_below"] == 0
    assert evaluation["verdict"]["passed"]


def test_images_that_trained_the_champion_are_left_out(
    prepare: Prepare, low_threshold_model: Path, binary_model: Path, make_champion: Callable[..., str]
) -> None:
    run = prepare(low_threshold_model, dim_tumors())
    hashes = [line.split(",")[0] for line in run.arguments["splits_csv"].read_text().splitlines()[1:]]
    evaluation = run(tracking_uri=make_champion(binary_model, trained_on="\n".join(hashes[:8])))
    assert evaluation["champion"]["images"] == 32


def test_without_champion_or_registry_there_is_no_comparison(prepare: Prepare, binary_model: Path, registry: str) -> None:
    run = prepare(binary_model, dim_tumors())
    assert run(tracking_uri=registry)["champion"] is None
    assert "there is none yet" in run.report.read_text()
    assert "champion" not in run()


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        ("few", f"it was not trained on 16 of the held-out images, expected at least {MIN_IMAGES}"),
        ("one class", "the held-out images that it was not trained on have only one class or one group"),
        ("classes", f"its classes are {', '.join(FOUR)}"),
        ("missing", "it cannot be run: "),
    ],
)
def test_missing_comparison_states_its_reason(
    obstacle: str,
    reason: str,
    prepare: Prepare,
    binary_model: Path,
    four_class_model: Path,
    make_champion: Callable[..., str],
    tmp_path: Path,
) -> None:
    images: dict[str, Any] = {"few": dim_tumors(8), "one class": [flat(0.05 + i * 0.02, "tumor", i) for i in range(40)]}
    run = prepare(binary_model, images.get(obstacle, dim_tumors()))
    model = {"classes": four_class_model}.get(obstacle, binary_model)
    registry = make_champion(model)
    if obstacle == "missing":
        connect(registry).delete_model_version(MODEL_NAME, "1")
        version = connect(registry).create_model_version(MODEL_NAME, source=str(tmp_path / "missing"))
        connect(registry).set_registered_model_alias(MODEL_NAME, CHAMPION, version.version)
    settings = {"tracking_uri": registry, "min_recall": 0, "min_auc": 0, "min_class_images": 0}
    evaluation = run(**settings)
    assert evaluation["champion"]["reason"].startswith(reason)
    assert "was not compared" in run.report.read_text()
    assert evaluation["verdict"]["passed"] is (obstacle != "missing")
    if obstacle == "missing":
        (why,) = evaluation["verdict"]["reasons"]
        assert why.startswith("The champion, version 2, cannot be compared: it cannot be run: ")
        assert why in unescape(run.report.read_text())
        assert run(**settings, allow_unreadable_champion=True)["verdict"] == {"passed": True, "reasons": []}


@pytest.mark.parametrize("damage", ["deleted", "no hashes", "no text", "no model", "no card", "damaged model", "changed card"])
def test_champion_that_cannot_be_read_is_not_replaced(
    damage: str, prepare: Prepare, binary_model: Path, make_champion: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "champion"
    shutil.copytree(binary_model, folder)
    registry = make_champion(folder)
    if damage == "deleted":
        shutil.rmtree(folder)
    elif damage == "damaged model":
        (folder / "saved_model.pb").write_bytes((folder / "saved_model.pb").read_bytes()[:-99])
    elif damage == "changed card":
        write_file_digests(folder)
        (folder / MODEL_CARD_PATH).write_text((folder / MODEL_CARD_PATH).read_text().replace("0.5", "0.9"))
    elif damage == "no text":
        (folder / TRAINING_HASHES).write_bytes(b"\xff\xfe\xff")
    else:
        names: dict[str, Path | str] = {"no hashes": TRAINING_HASHES, "no model": "saved_model.pb", "no card": MODEL_CARD_PATH}
        (folder / names[damage]).unlink()
    evaluation = prepare(binary_model, dim_tumors())(tracking_uri=registry, min_recall=0)
    (reason,) = evaluation["verdict"]["reasons"]
    assert reason.startswith("The champion, version 1, cannot be compared: ")
    assert {
        "damaged model": "saved_model.pb is damaged",
        "changed card": "it is damaged: assets.extra/model.json was changed",
    }.get(damage, "") in reason
    assert reason.endswith(". Restore it, or replace it with --set allow_unreadable_champion=true.")
