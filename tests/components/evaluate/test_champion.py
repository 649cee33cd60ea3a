"""A candidate beside the champion of a real registry."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brain_tumor.model_card import MODEL_NAME, TRAINING_HASHES
from components.evaluate.champion import MIN_IMAGES
from components.registry import CHAMPION, connect
from tests.components.evaluate.conftest import BINARY, FOUR, Run, Shown, export, flat

Prepare = Callable[..., Run]


@pytest.fixture(scope="session")
def low_threshold_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like `binary_model`, but calls a tumour from a brightness of 0.3 on."""
    return export(tmp_path_factory.mktemp("keen"), BINARY, 0.3)


@pytest.fixture
def make_champion(tmp_path: Path) -> Callable[..., str]:
    """Return a function that makes a folder the champion of a registry and returns the registry's address."""

    def register(folder: Path, *, seen: str = "") -> str:
        (folder / TRAINING_HASHES).write_text(seen)
        client = connect(f"sqlite:///{tmp_path}/mlflow.db")
        client.create_registered_model(MODEL_NAME)
        version = client.create_model_version(MODEL_NAME, source=str(folder))
        client.set_registered_model_alias(MODEL_NAME, CHAMPION, version.version)
        return f"sqlite:///{tmp_path}/mlflow.db"

    return register


def dim_tumors(count: int = 20) -> list[Shown]:
    """Heads of a brightness up to 0.2, and tumours half of which a threshold of 0.3 finds and one of 0.5 does not."""
    healthy = [flat(0.05 + i * 0.008, "no_tumor", i) for i in range(count)]
    return healthy + [flat((0.35 if i % 2 else 0.6) + i * 0.008, "tumor", count + i) for i in range(count)]


def test_a_candidate_below_the_champion_is_refused(
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
    assert reason.startswith(f"Accuracy is {(30 + found) / 40:.3f} where version 1, the champion, has 1.000: lower in 100%")
    assert "of the bootstrap's draws it is the lower one" in run.report.read_text()


def test_a_candidate_above_the_champion_passes(
    prepare: Prepare, binary_model: Path, low_threshold_model: Path, make_champion: Callable[..., str]
) -> None:
    evaluation = prepare(low_threshold_model, dim_tumors())(tracking_uri=make_champion(binary_model))
    assert evaluation["champion"]["share_below"] == 0
    assert evaluation["verdict"]["passed"]


def test_an_equal_candidate_passes(prepare: Prepare, binary_model: Path, make_champion: Callable[..., str]) -> None:
    evaluation = prepare(binary_model, dim_tumors())(tracking_uri=make_champion(binary_model), min_recall=0)
    assert evaluation["champion"]["share_below"] == 0
    assert evaluation["verdict"]["passed"]


def test_what_the_champion_was_trained_on_is_left_out(
    prepare: Prepare, low_threshold_model: Path, binary_model: Path, make_champion: Callable[..., str]
) -> None:
    run = prepare(low_threshold_model, dim_tumors())
    seen = [line.split(",")[0] for line in run.arguments["splits_csv"].read_text().splitlines()[1:]]
    evaluation = run(tracking_uri=make_champion(binary_model, seen="\n".join(seen[:8])))
    assert evaluation["champion"]["images"] == 32


def test_without_a_champion_or_a_registry_there_is_nothing_to_compare(
    prepare: Prepare, binary_model: Path, tmp_path: Path
) -> None:
    run = prepare(binary_model, dim_tumors())
    assert run(tracking_uri=f"sqlite:///{tmp_path}/empty.db")["champion"] is None
    assert "there is none yet" in run.report.read_text()
    assert "champion" not in run()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("few", f"it was not trained on 16 of the held-out images, wanted {MIN_IMAGES}"),
        ("one class", "the held-out images that it was not trained on are of one class or one group"),
        ("classes", f"it knows the classes {', '.join(FOUR)}"),
        ("gone", "it cannot be asked: "),
    ],
)
def test_why_there_is_no_comparison(
    spoil: str,
    reason: str,
    prepare: Prepare,
    binary_model: Path,
    four_class_model: Path,
    make_champion: Callable[..., str],
    tmp_path: Path,
) -> None:
    images: dict[str, Any] = {"few": dim_tumors(8), "one class": [flat(0.05 + i * 0.02, "tumor", i) for i in range(40)]}
    run = prepare(binary_model, images.get(spoil, dim_tumors()))
    model = {"classes": four_class_model}.get(spoil, binary_model)
    address = make_champion(model)
    if spoil == "gone":
        connect(address).delete_model_version(MODEL_NAME, "1")
        version = connect(address).create_model_version(MODEL_NAME, source=str(tmp_path / "gone"))
        connect(address).set_registered_model_alias(MODEL_NAME, CHAMPION, version.version)
    evaluation = run(tracking_uri=address, min_recall=0, min_auc=0)
    assert evaluation["champion"]["reason"].startswith(reason)
    assert "was not compared" in run.report.read_text()
