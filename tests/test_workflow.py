"""The commands of the CI workflow that run here."""

import shutil
import subprocess

import pytest
import yaml

from tests.conftest import ROOT

JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())["jobs"]
FILTERS = [
    line.split("'")[1]
    for job in JOBS.values()
    for step in job["steps"]
    for line in step.get("run", "").splitlines()
    if line.strip().startswith("jq ")
]


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
@pytest.mark.parametrize("jq_filter", FILTERS)
def test_filter_tells_a_response_from_an_error(jq_filter: str) -> None:
    """Also with jq 1.6, where a variable cannot be named as a keyword."""
    for response, passes in (
        ('{"label": "no_tumor", "overlay_png": "%s"}' % ("A" * 101), True),
        ('{"error": "the predictor is loading", "code": "not_ready"}', False),
    ):
        done = subprocess.run(["jq", "--exit-status", jq_filter], input=response, capture_output=True, text=True)
        assert "compile error" not in done.stderr
        assert (done.returncode == 0) is passes, (jq_filter, response)


def test_workflow_has_filters() -> None:
    assert len(FILTERS) == 2
