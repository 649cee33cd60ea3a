from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.ingest.component import ingest


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"epoch": 3.0}, "ingest: error: hyperparameters: got unknown name 'epoch' (did you mean epochs?)"),
        ({"epochs": 2.5}, "ingest: error: epochs: got 2.5, expected a valid integer"),
    ],
)
def test_ingest_rejects_bad_hyper_parameters_before_it_fetches_anything(
    tmp_path: Path, hyperparameters: dict[str, Any], message: str
) -> None:
    outputs = {name: SimpleNamespace(path=str(tmp_path / name)) for name in ("images", "manifest", "report")}
    with pytest.raises(SystemExit) as end:
        ingest.python_func(source="/nonexistent/images", hyperparameters=hyperparameters, **outputs)
    assert str(end.value.code).startswith(message)
    assert list(tmp_path.iterdir()) == []
