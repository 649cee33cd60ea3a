from ui.html import render
from ui.model import performance_html, properties_html

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
