import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brain_tumor.errors import InputError
from brain_tumor.phantoms import make_phantom
from pipelines.cross_validation import __main__ as command
from pipelines.cross_validation import scores as scoring
from pipelines.cross_validation.training import FittedModel
from pipelines.local.scratch import scratch_folder
from tests.pipelines.conftest import ODD_NAME, running_commands

TINY = ["image_size_px=64", "epochs=4", "views=2"]


def options(runs: Path, **values: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **{"source": "synthetic://?n=48", "set": TINY, "external": "", "folds": 2, "seeds": 2, "runs": runs} | values
    )


def masked_tumors(folder: Path, count: int = 6) -> Path:
    """Write phantoms with a lesion and their masks, without class folders."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in range(count):
        pixels, mask = make_phantom(np.random.default_rng([9, number]), lesion=True)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    """Compute wide intervals, in a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "RESAMPLES", 50)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, Path]:
    """Return the scores of a small cross-validation with an external set, their folder, and the folder of runs."""
    runs = tmp_path_factory.mktemp("runs") / ODD_NAME
    external = masked_tumors(runs.parent / "tumors")
    scores, folder = command.cross_validate(options(runs, external=str(external)))
    return scores, folder, runs


def test_rows_are_the_model_the_leaky_split_and_the_baselines(finished: tuple[dict[str, Any], Path, Path]) -> None:
    scores, folder, _ = finished
    assert list(scores["rows"]) == [
        "evidence, folds by group",
        "evidence, random folds, which leak near copies",
        "most frequent class",
        "geometry of the files, no pixel",
        "logistic regression on frozen features",
    ]
    assert json.loads((folder / "cv.json").read_text()) == scores
    model = scores["rows"]["evidence, folds by group"]
    assert len(model["auc"]["by_seed"]) == 2
    assert model["auc"]["mean"] == pytest.approx(np.mean(model["auc"]["by_seed"]))
    low, high = model["auc"]["interval"]
    assert 0 <= low <= model["auc"]["mean"] <= high <= 1
    assert {"coverage_no_tumor", "coverage_tumor", "calibration_slope", "brier_before_temperature"} <= set(model)
    assert scores["rows"]["most frequent class"]["auc"]["mean"] == pytest.approx(0.5, abs=0.15)
    assert (scores["images"], scores["folds"], scores["seeds"]) == (48, 2, 2)


def test_external_tumours_have_recall_and_pointing_but_no_auc(finished: tuple[dict[str, Any], Path, Path]) -> None:
    external = finished[0]["external"]["tumors"]
    assert external["images"] == 6
    assert "auc" not in external["scores"]
    assert "specificity" not in external["scores"]
    assert 0 <= external["scores"]["sensitivity"]["mean"] <= 1
    assert 0 <= external["scores"]["unlike_training"]["mean"] <= 1


def test_page_shows_every_row_and_the_notice(finished: tuple[dict[str, Any], Path, Path]) -> None:
    scores, folder, _ = finished
    page = (folder / "cv.html").read_text()
    assert scores["notice"] in page
    assert all(row in page for row in scores["rows"])
    assert "tumors: 6 images" in page
    assert page.count("<svg") == 3


def test_repeated_command_trains_nothing_and_gives_the_same_scores(
    finished: tuple[dict[str, Any], Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, _, runs = finished
    monkeypatch.setattr(FittedModel, "__init__", lambda *arguments: pytest.fail("trained again"))
    again, _ = command.cross_validate(options(runs, external=str(runs.parent / "tumors")))
    assert again == scores


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folds": 1}, r"^folds: got 1, expected 2 or more$"),
        ({"seeds": 0}, r"^seeds: got 0, expected 1 or more$"),
        ({"set": ["min_auc=0.8"]}, r"^--set: got min_auc, expected a hyper-parameter$"),
        ({"set": ["dropout=0.1"]}, r"dropout, which belongs to architecture=cnn"),
        ({"source": "/nonexistent/images"}, r"/nonexistent/images"),
        ({"external": "/nonexistent/images"}, r"/nonexistent/images"),
    ],
)
def test_invalid_value_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        command.cross_validate(options(tmp_path, **values))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_command_leaves_what_it_continues_with_and_no_temporary_file(tmp_path: Path, number: int) -> None:
    runs, temporary = tmp_path / "runs", tmp_path / "tmp"
    temporary.mkdir()
    settings = [word for setting in TINY for word in ("--set", setting)]
    line = [sys.executable, "-m", "pipelines.cross_validation", "--source", "synthetic://?n=48", "--runs", str(runs), *settings]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(temporary)}) as process:
        assert process.stdout is not None
        next(each for each in process.stdout if each.startswith("cv: "))
        process.send_signal(number)
    assert process.returncode == (130 if number == signal.SIGTERM else -number)
    assert not any(str(runs) in each for each in running_commands())
    assert list(temporary.iterdir()) == []
    (folder,) = runs.glob("cv/[!.]*")
    assert (folder / "scratch").exists() == (number == signal.SIGKILL)
    with scratch_folder(runs / "cv" / "of-another-source"):
        assert {path.name for path in folder.iterdir()} <= {"images.zip", "manifest.csv", "ingest.html", "features"}


def test_command_prints_the_table_and_where_the_page_is(
    finished: tuple[dict[str, Any], Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, folder, runs = finished
    arguments = ["--source", "synthetic://?n=48", "--external", str(runs.parent / "tumors"), "--folds", "2", "--seeds", "2"]
    settings = [word for setting in TINY for word in ("--set", setting)]
    monkeypatch.setattr(sys, "argv", ["cross_validation", *arguments, *settings, "--runs", str(runs)])
    assert command.main() == 0
    printed = capsys.readouterr().out
    assert f"page: {folder / 'cv.html'}" in printed
    assert scores["notice"] in printed
    assert "external tumors: 6 images" in printed
    assert f"{scores['rows']['evidence, folds by group']['auc']['mean']:.3f}" in printed
