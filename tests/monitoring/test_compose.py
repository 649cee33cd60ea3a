"""compose.yaml: its files exist, and only this machine can connect."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.local.monitor import configuration
from pipelines.local.pacs import RULES
from pipelines.local.ports import Ports
from serving.dicomweb.settings import Settings
from tests.conftest import ROOT
from tests.tools import tool

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PACS = ("orthanc", "phantom", "gateway")
MODEL = "./runs/models/brain-tumor/${MODEL_VERSION:-1}"
OURS = {"transformer": "brain-tumor-serving", "page": "brain-tumor-ui"} | dict.fromkeys(PACS[1:], "brain-tumor-dicomweb")


def inline(name: str) -> Any:
    """Return an inline configuration file of compose.yaml."""
    return yaml.safe_load(COMPOSE["configs"][name]["content"])


def mounts(service: str) -> dict[str, str]:
    """Return source -> target. All but the named volumes must be read-only."""
    found = {}
    for volume in SERVICES[service].get("volumes", []):
        if isinstance(volume, str):
            source, target, *mode = volume.split(":")
            assert mode == ["ro"] or source in COMPOSE["volumes"], volume
        else:
            source, target = volume["source"], volume["target"]
            assert volume["read_only"] is True
            assert volume["bind"]["create_host_path"] is False
        found[source] = target
    return found


def test_every_container_image_has_a_pinned_version_and_ours_the_projects() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, service in SERVICES.items():
        image, _, tag = service["image"].rpartition(":")
        assert image, f"{name} has no tag"
        assert tag[-1].isdigit()
        if name in OURS:
            assert (image, tag) == (OURS[name], version)


def test_only_this_machine_can_connect_and_there_is_no_password() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 6  # REST, gRPC, page, Prometheus, Grafana, Orthanc
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert "password" not in (ROOT / "compose.yaml").read_text(encoding="utf-8").lower()
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert grafana["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_predictor_and_transformer_mount_the_same_version() -> None:
    assert mounts("transformer") == {MODEL: "/mnt/models"}
    assert mounts("predictor") == {MODEL: "/models/brain-tumor/${MODEL_VERSION:-1}"}
    assert "--model_base_path=/models/brain-tumor" in SERVICES["predictor"]["command"]


@pytest.mark.parametrize("service", ["prometheus", "grafana"])
def test_mounted_folders_of_the_chart_exist(service: str) -> None:
    folders = [ROOT / source for source in mounts(service) if source.startswith("./")]
    assert folders
    assert all(any(folder.iterdir()) for folder in folders)


def test_services_with_inline_files_have_a_writable_file_system() -> None:
    """Compose copies such a file into the container, which fails on a read-only file system."""
    with_files = {name for name, service in SERVICES.items() if "configs" in service}
    assert with_files == {"predictor", "prometheus", "grafana", "gateway"}
    assert not any(SERVICES[name].get("read_only") for name in with_files)
    named = {config["source"] for name in with_files for config in SERVICES[name]["configs"]}
    assert named == set(COMPOSE["configs"])


def test_prometheus_scrapes_every_service_at_its_port(tmp_path: Path) -> None:
    document = inline("prometheus")
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in document["scrape_configs"]}
    assert targets == {"transformer": ["transformer:8080"], "page": ["page:9464"], "predictor": ["predictor:8090"]} | {
        "gateway": ["gateway:8082"]
    }
    assert SERVICES["transformer"]["environment"] == {"PREDICTOR_HOST": "predictor:8090"}
    assert document["rule_files"] == [f"{mounts('prometheus')['./helm/brain-tumor-ui/rules']}/*.yaml"]
    for name, content in (
        ("compose", COMPOSE["configs"]["prometheus"]["content"]),
        ("monitor", configuration(dict.fromkeys("a", "b:1"))),
    ):
        path = tmp_path / f"{name}.yml"
        path.write_text(content)
        ended = subprocess.run([tool("promtool"), "check", "config", str(path)], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr


def test_pacs_is_started_on_request_with_the_phantom_and_the_gateway_of_make_pacs() -> None:
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["pacs"]} == set(PACS)
    assert not any("profiles" in service for name, service in SERVICES.items() if name not in PACS)
    gateway = SERVICES["gateway"]
    assert {name.lower() for name in gateway["environment"]} <= set(Settings.model_fields)
    root = f"http://orthanc:{Ports.model_fields['pacs_port'].default}/dicom-web"
    assert gateway["environment"]["DICOMWEB_URL"] == root == SERVICES["phantom"]["command"][0]
    assert gateway["environment"]["API_URL"] == SERVICES["page"]["environment"]["API_URL"]
    (config,) = gateway["configs"]
    assert gateway["environment"]["RULES"] == config["target"]
    assert inline(config["source"]) == RULES
    state = re.search(r"STATE=(\S+)/", (ROOT / "serving" / "dicomweb" / "Dockerfile").read_text())
    assert state
    assert mounts("gateway") == {"gateway": state[1]}
    assert SERVICES["phantom"]["entrypoint"] == ["python3", "-m", "brain_tumor.phantom_series"]


def test_grafana_loads_the_dashboards_and_one_data_source() -> None:
    (source,) = inline("grafana-datasource")["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    assert source["jsonData"]["timeInterval"] == inline("prometheus")["global"]["scrape_interval"]
    (provider,) = inline("grafana-dashboards")["providers"]
    folder = mounts("grafana")["./helm/brain-tumor-ui/dashboards"]
    assert provider["options"]["path"] == folder
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{folder}/service.json"
