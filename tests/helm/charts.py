"""Run the real Helm on the web page's chart."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.tools import tool

CHART = Path(__file__).parents[2] / "helm" / "brain-tumor-ui"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
DEFAULT = CHART / "ci" / "default-values.yaml"
API_URL = "http://brain-tumor-predictor.models.svc.cluster.local"


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Helm and return its status and output."""
    return subprocess.run([tool("helm"), *map(str, arguments)], capture_output=True, text=True)


def render(
    *sets: str, values: Path = DEFAULT, chart: Path = CHART, release: str = "page", options: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the objects of a release with a values file and single values, such as `ingress.enabled=true`."""
    done = helm("template", release, chart, "--values", values, *(f"--set={each}" for each in sets), *options)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def rejection(*sets: str, release: str = "page", options: Sequence[str] = ()) -> str:
    """Return Helm's error for single values added to the default ones."""
    done = helm("template", release, CHART, "--values", DEFAULT, *(f"--set={each}" for each in sets), *options)
    assert done.returncode != 0, f"rendered with {sets}"
    return done.stderr


def notes(*sets: str, values: Path = DEFAULT) -> str:
    """Return the notes of an installation as one line."""
    done = helm("install", "page", CHART, "--values", values, "--dry-run=client", *(f"--set={each}" for each in sets))
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.partition("NOTES:")[2].split())


def the(kind: str, objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the only object of a kind."""
    (found,) = (each for each in objects if each["kind"] == kind)
    return found


def pods(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the pod specs of the Deployment and of `helm test`."""
    return {"page": the("Deployment", objects)["spec"]["template"]["spec"], "test": the("Pod", objects)["spec"]}
