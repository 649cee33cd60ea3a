from tests.serving.brightness_model import CARD as CALIBRATED
from tests.serving.brightness_model import CARD_0_1_0
from ui.html import render
from ui.model import calibration_html, limits_html, performance_html, properties_html

HOSTILE = '"><script>alert(1)</script>'
CARD = {
    "version": HOSTILE,
    "created": HOSTILE,
    "architecture": HOSTILE,
    "classes": ["no_tumor", HOSTILE],
    "threshold": 0.5,
    "image_size_px": 150,
    "dataset": {"source": HOSTILE, "fingerprint": HOSTILE, "counts": {"train": {"no_tumor": 3, HOSTILE: 2}, HOSTILE: {}}},
}


def test_text_of_the_model_card_is_escaped() -> None:
    html = properties_html(CARD) + render("confusion.html", matrix=[[1, 0], [0, 1]], names=["no tumour", HOSTILE])
    assert "<script" not in html
    assert html.count("&#34;&gt;&lt;script&gt;") == 10


def test_counts_are_listed_by_split_and_class() -> None:
    assert '<th scope="row">training</th><td>3</td><td>2</td>' in properties_html(CARD)


def test_calibration_of_each_output_is_stated() -> None:
    html = " ".join(calibration_html(CALIBRATED).split())
    for expected in (
        "<dd>1.25: divides the score before it becomes a probability. Fitted on: validation</dd>",
        "<dd>0.5, chosen for a sensitivity of 0.95. Fitted on: validation</dd>",
        "At an error rate of 10 % a class is possible from this probability on: no tumour 0.300, tumour 0.250. Fitted on",
        "beyond a Mahalanobis distance of 23.5 in 128 features, as 2 % of the suitable images are. Fitted on: training</dd>",
    ):
        assert expected in html
    assert "A warning marks most images" in limits_html(CALIBRATED)
    assert "weights 1.0, licence MIT, trained on ImageNet" in properties_html(CALIBRATED)
    assert "<dd>Evidence map</dd>" in properties_html(CALIBRATED)


def test_threshold_that_was_not_fitted_is_stated() -> None:
    def threshold_html(value: float | None) -> str:
        threshold = {"value": value, "rule": "fixed", "sensitivity": None, "fitted_on": None}
        card = CALIBRATED | {"calibration": CALIBRATED["calibration"] | {"threshold": threshold}}
        return calibration_html(card)

    assert "<dd>0.4, fixed</dd>" in threshold_html(0.4)
    assert "<dd>none: the most probable class</dd>" in threshold_html(None)


def test_model_card_of_0_1_0_has_no_calibration() -> None:
    assert calibration_html(CARD_0_1_0) == ""
    assert "A warning marks" not in limits_html(CARD_0_1_0)
    assert "The heatmap (Grad-CAM) shows" in limits_html(CARD_0_1_0)
    assert "Pretrained weights" not in properties_html(CARD_0_1_0)


def test_performance_lists_the_metrics_of_the_card() -> None:
    metrics = {
        "accuracy": 0.9,
        "accuracy_interval": [0.8, 0.95],
        "recall": 0.75,
        "tumor_recall": 0.75,
        "images": 40,
        "groups": 30,
    }
    html = performance_html(metrics, binary=True)
    assert '<th scope="row">Accuracy</th><td>0.900</td>' in html
    assert "95 % interval 0.800 to 0.950" in html
    assert "On 40 held-out slices in 30 groups." in html
    assert "Recall of any tumour" not in html
    assert "Recall of any tumour" in performance_html(metrics, binary=False)
    assert "The model card contains none." in performance_html({}, binary=True)
