"""The whole chart: Helm and the Kubernetes schemas accept it, and its README, values and schema agree."""

import json
import re
import shutil
import statistics
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.conftest import VERSION
from tests.crds import crd_errors, require_crds
from tests.helm.charts import API_URL, CHART, CI_VALUES, DEFAULT, helm, rejection, render

OLDEST = "1.30"
NEWEST = kubernetes_validate.latest_version()
CUSTOM = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}
every_values_file = pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem.removesuffix("-values"))


@every_values_file
def test_helm_lint_passes(values: Path) -> None:
    done = helm("lint", "--strict", CHART, "--values", values)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
@every_values_file
def test_objects_match_the_kubernetes_schemas(values: Path, kubernetes: str) -> None:
    objects = [each for each in render(values=values, options=["--kube-version", kubernetes]) if each["kind"] not in CUSTOM]
    assert {"Deployment", "Service", "Pod"} <= {each["kind"] for each in objects}
    for each in objects:
        kubernetes_validate.validate(each, kubernetes, strict=True)


@pytest.mark.parametrize(("name", "kinds"), [("monitoring", {"ServiceMonitor", "PrometheusRule"}), ("httproute", {"HTTPRoute"})])
def test_custom_resources_match_their_crds(name: str, kinds: set[str]) -> None:
    require_crds()
    objects = [each for each in render(values=CHART / "ci" / f"{name}-values.yaml") if each["kind"] in CUSTOM]
    assert {each["kind"] for each in objects} == kinds
    assert [error for each in objects for error in crd_errors(each)] == []


def test_older_kubernetes_is_rejected() -> None:
    assert "kubeVersion: >=1.30" in rejection(options=["--kube-version", "1.29.9"])
    assert render(options=["--kube-version", "v1.30.4-eks-a1b2c3"])


def test_package_and_folder_render_alike(tmp_path: Path) -> None:
    done = helm("package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        names = set(archive.getnames())
    assert {"brain-tumor-ui/README.md", "brain-tumor-ui/values.schema.json", "brain-tumor-ui/rules/brain-tumor.yaml"} <= names
    assert not [name for name in names if name.startswith("brain-tumor-ui/ci/")]
    monitoring = CHART / "ci" / "monitoring-values.yaml"
    assert render(values=monitoring, chart=package) == render(values=monitoring)


def test_chart_versions_equal_the_project_version() -> None:
    project = tomllib.loads((CHART.parents[1] / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (project, project)


@every_values_file
def test_every_object_has_the_recommended_labels(values: Path) -> None:
    for each in render(values=values):
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "page"
        assert labels["app.kubernetes.io/version"] == VERSION
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["helm.sh/chart"] == f"brain-tumor-ui-{VERSION}"


def test_template_has_one_kind_and_is_short() -> None:
    templates = list((CHART / "templates").rglob("*.yaml"))
    assert {path: len(re.findall("^kind:", path.read_text(), re.MULTILINE)) for path in templates} == dict.fromkeys(templates, 1)
    assert statistics.median(len(path.read_text().splitlines()) for path in templates) < 30


def test_defaults_are_the_values() -> None:
    """Templates cannot read values.yaml."""
    assert (CHART / "defaults.yaml").readlink() == Path("values.yaml")


def test_upgrade_that_reuses_the_values_of_an_older_chart_gets_the_new_defaults(tmp_path: Path) -> None:
    """`--reuse-values` replaces the chart's values by the old ones."""
    chart = shutil.copytree(CHART, tmp_path / "chart")
    old = yaml.safe_load((CHART / "values.yaml").read_text())
    for section in ("page", "httpRoute", "dashboards", "resources"):
        del old[section]
    del old["service"]["port"], old["api"]["tokenSecret"]["key"], old["replicaCount"]
    (chart / "values.yaml").write_text(yaml.safe_dump(old))
    assert render(chart=chart) == render()
    (chart / "values.yaml").write_text("{}")
    assert render(chart=chart) == render()


def test_long_release_name_is_cut_to_the_dns_limit() -> None:
    done = helm("template", "r" * 53, CHART, "--values", DEFAULT)
    names = {each["metadata"]["name"] for each in yaml.safe_load_all(done.stdout) if each["kind"] == "Service"}
    assert names == {f"{'r' * 53}-brain-tum"}


def test_parent_chart_can_contain_this_chart(tmp_path: Path) -> None:
    """Helm passes the key `global` to a subchart, so a strict schema must list it."""
    (tmp_path / "Chart.yaml").write_text(
        "apiVersion: v2\nname: parent\nversion: 1.0.0\n"
        f"dependencies: [{{name: brain-tumor-ui, version: {VERSION}, repository: 'file://{CHART}'}}]\n"
    )
    assert helm("dependency", "build", tmp_path).returncode == 0
    (tmp_path / "values.yaml").write_text("brain-tumor-ui: {ingress: null, service: {port: null}, page: null}\n")
    done = helm("template", "page", tmp_path, "--set", f"brain-tumor-ui.api.url={API_URL},global.region=eu")
    assert done.returncode == 0, done.stderr
    assert "kind: Deployment" in done.stdout


def test_readme_values_and_schema_list_the_same_keys() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    schema["properties"].pop("global")
    values = _flat_values(yaml.safe_load((CHART / "values.yaml").read_text()), schema)
    table = _readme_table()
    assert list(table) == list(values)
    assert set(values) == set(_flat_schema(schema))
    assert {key: default for key, default in table.items() if default != values[key] and default != "see values.yaml"} == {}


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(# values.*?)```", (CHART / "README.md").read_text(), re.DOTALL))
def test_examples_of_the_readme_render(block: str, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(block)
    assert render(f"api.url={API_URL}", values=values)


def _readme_table() -> dict[str, Any]:
    """Return key to default of the README's table, parsed as YAML."""
    rows = re.findall(r"^\| `([^`]+)` \| (.*?) \| .+ \|$", (CHART / "README.md").read_text(), re.MULTILINE)
    return {key: yaml.safe_load(default.strip("`")) for key, default in rows}


def _flat_schema(schema: dict[str, Any], prefix: str = "") -> list[str]:
    return [
        leaf
        for name, each in schema["properties"].items()
        for leaf in (_flat_schema(each, f"{prefix}{name}.") if "properties" in each else [f"{prefix}{name}"])
    ]


def _flat_values(values: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        each = schema["properties"].get(name, {})
        flat |= _flat_values(value, each, f"{prefix}{name}.") if "properties" in each else {f"{prefix}{name}": value}
    return flat
