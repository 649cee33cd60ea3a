"""Complete evaluations of tiny real models, from disk to the report."""

import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from brain_tumor.errors import InputError
from tests.components.evaluate.conftest import LabelledImage, Run, flat

Prepare = Callable[..., Run]
TUMORS = [0.9, 0.8, 0.7, 0.3]
HEALTHY = [0.1, 0.2, 0.6, 0.4]


def eight_images() -> list[LabelledImage]:
    """Return 8 test images, 3 of 4 tumours and 3 of 4 healthy images on the correct side of 0.5, and 2 of other splits."""
    held_out = [flat(level, "tumor", i) for i, level in enumerate(TUMORS)] + [flat(level, "no_tumor", 3) for level in HEALTHY]
    return [*held_out, flat(0.15, "no_tumor", 8, split="train"), flat(0.95, "tumor", 9, split="validation")]


def lesion_at(rows: slice, columns: slice, *, lit: bool = True) -> LabelledImage:
    """Return a bright image with a lesion brighter than the rest, or darker."""
    mask = np.zeros((48, 60), bool)
    mask[rows, columns] = True
    return LabelledImage(
        np.where(mask, 1.0 if lit else 0.5, 0.6) + columns.start * 1e-3 * ~mask, "tumor", columns.start, mask=mask
    )


class Page(HTMLParser):
    """The elements of an HTML page and their attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_metrics_of_two_classes(prepare: Prepare, binary_model: Path) -> None:
    run = prepare(binary_model, eight_images())

    evaluation = run(min_class_images=2)

    assert evaluation == json.loads(run.evaluation.read_text())
    assert (evaluation["images"], evaluation["groups"]) == (8, 4)
    assert evaluation["confusion"] == [[3, 1], [1, 3]]
    assert evaluation["metrics"]["accuracy"] == evaluation["metrics"]["recall"] == evaluation["metrics"]["specificity"] == 0.75
    assert evaluation["metrics"]["roc_auc"] == 14 / 16  # 0.3 beats only 0.1 and 0.2
    squares = [(1 - level) ** 2 for level in TUMORS] + [level**2 for level in HEALTHY]
    assert evaluation["metrics"]["brier"] == pytest.approx(sum(squares) / 8, abs=2e-3)
    assert evaluation["verdict"] == {"passed": True, "reasons": []}
    assert evaluation["explanation"] is evaluation["doubt"] is None
    sides = evaluation["reference"]["side_pixels"]
    assert dict(zip(sides["le"], sides["share"], strict=True))[64] == 1
    assert evaluation["reference"]["brightness"]["share"][-1] == 1
    assert list(evaluation) == [
        *("verdict", "classes", "threshold", "images", "groups", "metrics", "per_class", "confusion", "roc", "calibration"),
        *("doubt", "reference", "explanation"),
    ]


def test_model_below_the_minimums_is_not_promoted(prepare: Prepare, binary_model: Path) -> None:
    run = prepare(binary_model, eight_images())
    reasons = run(min_auc=0.95, min_recall=0.8, min_class_images=0)["verdict"]["reasons"]
    assert reasons == [
        "ROC-AUC is 0.875, below the minimum of 0.950.",
        "Tumour recall is 0.750, below the minimum of 0.800.",
    ]
    assert all(reason in run.report.read_text() for reason in reasons)


def test_metrics_of_four_classes(prepare: Prepare, four_class_model: Path) -> None:
    def colour(red: float, green: float, blue: float, label: str, group: int) -> LabelledImage:
        return LabelledImage(np.full((20, 20, 3), (red, green, blue)), label, group)

    images = [
        colour(0.9, 0.1, 0.1, "glioma", 0),
        colour(0.1, 0.8, 0.1, "glioma", 1),
        colour(0.2, 0.9, 0.1, "meningioma", 2),
        colour(0.1, 0.1, 0.9, "pituitary", 3),
        colour(0.1, 0.1, 0.1, "no_tumor", 4),
        colour(0.1, 0.1, 0.8, "no_tumor", 5),
    ]

    run = prepare(four_class_model, images)
    evaluation = run()

    assert evaluation["confusion"] == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
    assert evaluation["metrics"]["tumor_recall"] == 1
    assert evaluation["metrics"]["specificity"] == 0.5
    assert evaluation["metrics"]["recall"] == pytest.approx((0.5 + 1 + 0.5 + 1) / 4)
    assert evaluation["threshold"] is None
    assert set(evaluation["roc"]) == {"glioma", "meningioma", "no_tumor", "pituitary"}
    assert "ROC curves, one-vs-rest" in run.report.read_text()


def test_same_seed_writes_the_same_bytes(prepare: Prepare, binary_model: Path) -> None:
    run = prepare(binary_model, eight_images())
    run(seed=3)
    first = run.evaluation.read_bytes(), run.report.read_bytes()
    run(seed=3)
    assert (run.evaluation.read_bytes(), run.report.read_bytes()) == first


def test_test_set_of_one_class_is_not_promoted(prepare: Prepare, binary_model: Path) -> None:
    run = prepare(binary_model, [flat(0.1 * i, "no_tumor", i) for i in range(1, 5)])

    evaluation = run()

    assert evaluation["metrics"]["roc_auc"] is None
    assert evaluation["metrics"]["specificity"] == 1
    assert [reason.split(":")[0] for reason in evaluation["verdict"]["reasons"]] == [
        "The held-out test set lacks 6 images and 1 group of no_tumor",
        "The held-out test set lacks 10 images and 5 groups of tumor",
        "ROC-AUC is undefined",
        "Tumour recall is undefined",
    ]
    page = run.report.read_text()
    assert "has no image of tumor" in page
    assert "only 4 images" in page
    assert "up to 75% of such groups" in page


def test_empty_test_set_is_not_promoted(prepare: Prepare, binary_model: Path) -> None:
    run = prepare(binary_model, [flat(0.3, "no_tumor", 0, split="train")])
    evaluation = run()
    assert evaluation["images"] == 0
    assert not evaluation["verdict"]["passed"]
    assert "every metric is undefined" in run.report.read_text()


def test_test_set_of_one_image_has_no_interval(prepare: Prepare, binary_model: Path) -> None:
    run = prepare(binary_model, [flat(0.8, "tumor", 0)])
    assert run()["metrics"]["accuracy_interval"] is None
    assert "no interval" in run.report.read_text()


@pytest.mark.parametrize("before", [False, True])
def test_failing_model_leaves_earlier_files_unchanged(prepare: Prepare, binary_model: Path, before: bool) -> None:

    images = [flat(0.3 + i / 100, "no_tumor", i) for i in range(20)]
    if before:
        prepare(binary_model, images)()
    run = prepare(binary_model, [*images, flat(0, "no_tumor", 20)])
    kept = {path: path.read_bytes() for path in run.folder.glob("out/*")}

    with pytest.raises(InputError, match="SavedModel"):
        run()

    assert {path: path.read_bytes() for path in run.folder.rglob("out/*")} == kept
    assert len(kept) == (2 if before else 0)


def test_heatmap_hits_bright_lesions_that_a_central_peak_misses(prepare: Prepare, binary_model: Path) -> None:
    images = [lesion_at(slice(4, 14), slice(start, start + 12)) for start in (2, 8, 40)]
    images.append(lesion_at(slice(30, 40), slice(20, 26), lit=False))
    images.append(flat(0.2, "no_tumor", 99))

    run = prepare(binary_model, images, synthetic=True)
    score = run()["explanation"]

    assert (score["method"], score["images"]) == ("grad_cam", 4)
    assert score["lesion_area"] == pytest.approx((3 * 120 + 60) / 4 / (48 * 60), abs=1e-6)
    assert list(score["rows"]) == ["model", "centred_blob", "random", "randomised_weights"]
    assert score["rows"]["model"]["peak_in_lesion"] == score["rows"]["model"]["peak_within_cell"] == 3 / 4
    assert score["rows"]["centred_blob"]["peak_in_lesion"] == 0
    assert score["rows"]["randomised_weights"] == score["rows"]["model"]  # this model has no weights
    assert score["rows"]["random"]["peak_in_lesion"] < 3 / 4
    assert 0.65 <= score["iou_threshold"] <= 0.9  # the lesions are 1, the rest of their images up to 0.64
    page = run.report.read_text()
    assert "say nothing about accuracy on patients" in page
    assert 'This model, Grad-CAM</th><td class="number">75.0&nbsp;%</td>' in page
    assert page.count("peak inside the lesion") == 3


def test_missed_lesion_is_left_out_of_the_pointing_game(prepare: Prepare, binary_model: Path) -> None:
    mask = np.zeros((24, 30), bool)
    mask[3:9, 3:9] = True
    run = prepare(
        binary_model, [LabelledImage(mask.astype(float), "tumor", 0, mask=mask), flat(0.1, "no_tumor", 1)], synthetic=True
    )
    assert run()["explanation"] is None
    assert "the explanations cannot be compared with lesions" in run.report.read_text()


def test_doubt_is_measured_and_marked_in_the_gallery(prepare: Prepare, doubting_model: Path) -> None:
    run = prepare(doubting_model, eight_images())

    doubt = run()["doubt"]

    assert doubt["unlike_training"] == 1 / 8  # 0.9
    assert doubt["uncertain"] == 2 / 8  # 0.6 and 0.4
    assert doubt["certain"] == {"images": 6, "accuracy": pytest.approx(5 / 6, abs=1e-6)}
    assert doubt["coverage"] == {"no_tumor": 1.0, "tumor": 0.75}  # 0.3 is below 0.35
    assert doubt["brier"]["with_temperature"] == json.loads(run.evaluation.read_text())["metrics"]["brier"]
    assert doubt["calibration_line"]["slope"]["interval"] is None  # too many resamples of 4 groups are separated
    page = " ".join(run.report.read_text().split())
    assert page.count('<span class="mark">uncertain</span>') == 2
    assert page.count('<span class="mark">unlike the training images</span>') == 1
    assert "the tumours among them" in page
    assert "the highest that 97&nbsp;% of the tumours reach" in page
    assert "Explanations: evidence map" in page
    assert "Grad-CAM" not in page


def test_model_of_0_1_0_has_no_tables_of_doubt(prepare: Prepare, binary_model: Path) -> None:
    run = prepare(binary_model, eight_images())
    run()
    page = run.report.read_text()
    assert "Uncertainty and calibration" not in page
    assert 'class="mark"' not in page
    assert "Explanations: Grad-CAM" in page


def test_report_is_self_contained_and_names_no_image(prepare: Prepare, binary_model: Path) -> None:
    run = prepare(binary_model, eight_images())
    run()
    text = run.report.read_text()
    page = Page(text)

    hashes = [line.split(",")[0] for line in (run.folder / "splits.csv").read_text().splitlines()[1:]]
    assert not any(sha256 in text for sha256 in hashes)
    assert str(run.folder) not in text
    links = [
        value or ""
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href")
    ]
    assert links
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links)
    assert not re.search(r"url\((?!#)|@import", text)
    assert "script" not in {tag for tag, _ in page.elements}


def test_report_is_accessible_to_screen_readers(prepare: Prepare, binary_model: Path) -> None:
    run = prepare(binary_model, eight_images())
    run()
    page = Page(run.report.read_text())

    tags = Counter(tag for tag, _ in page.elements)
    assert tags["h1"] == 1
    assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img")
    assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th")
    plots = [attributes for _, attributes in page.elements if attributes.get("role") == "img"]
    assert len(plots) == tags["svg"] == 5  # loss, accuracy, ROC, calibration, histogram
    assert all(attributes["aria-label"] for attributes in plots)


def test_progress_lines_contain_only_counts(prepare: Prepare, binary_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = prepare(binary_model, [flat(0.3 + i / 100, "no_tumor", i) for i in range(20)])
    run()
    assert capsys.readouterr().out.splitlines() == [
        "evaluate: 16 of 20 held-out images",
        "evaluate: 20 of 20 held-out images",
    ]


def test_invalid_input_is_named(prepare: Prepare, binary_model: Path, tmp_path: Path) -> None:
    run = prepare(binary_model, [flat(0.3, "no_tumor", 0), flat(0.8, "glioma", 1)])
    with pytest.raises(InputError, match=r"\['glioma'\].*'no_tumor', 'tumor'"):
        run()
    splits = tmp_path / "splits.csv"
    splits.write_text(f"sha256,group,label,split\n{'a' * 64},0,tumor,test\n")
    with pytest.raises(InputError, match="no image aaaa"):
        run()
    splits.write_text("sha256,label\nabc,tumor\n")
    with pytest.raises(InputError, match=r"splits\.csv with columns"):
        run()
    (tmp_path / "images.zip").write_bytes(b"not a zip")
    splits.write_text("sha256,group,label,split\n")
    with pytest.raises(InputError, match=r"expected an images\.zip"):
        run()
    with pytest.raises(InputError, match=r"model\.json cannot be read: No such file"):
        Run(run.folder, run.arguments | {"model_dir": tmp_path})()
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "model.json").write_text('{"classes": []}')
    with pytest.raises(InputError, match=r"lacks \['dataset', 'name', 'reference', 'threshold', 'tumor_classes', 'version'\]"):
        Run(run.folder, run.arguments | {"model_dir": tmp_path})()
    assert not (tmp_path / "out").exists()


def test_report_states_the_majority_class_baseline(prepare: Prepare, binary_model: Path) -> None:
    run = prepare(binary_model, [flat(0.3, "no_tumor", 0), *(flat(0.6 + 0.1 * group, "tumor", group) for group in (1, 2, 3))])
    run()
    assert "majority-class baseline (tumor) 0.750" in " ".join(run.report.read_text().split())
