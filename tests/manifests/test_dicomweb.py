"""The overlay `dicomweb`: the PACS gateway, whom it reaches, and what it reads."""

import importlib.metadata
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

from serving.dicomweb.settings import Settings
from serving.settings import POD_SETTINGS
from tests.conftest import ROOT, VERSION
from tests.manifests.render import MANIFESTS, Document, overlay, pod_labels, render, the
from tests.monitoring.promql import alerts

NAME = "brain-tumor-dicomweb"
LABELS = {"app.kubernetes.io/name": NAME}
API_PORT = 8080


def deployment() -> Document:
    return the("Deployment", overlay("dicomweb"), NAME)["spec"]


def container() -> Document:
    (only,) = deployment()["template"]["spec"]["containers"]
    return only


def policy(name: str) -> Document:
    return the("NetworkPolicy", overlay("dicomweb"), name)["spec"]


def documentation() -> str:
    return (ROOT / "docs" / "cluster.md").read_text().partition("## 8. A PACS")[2]


def test_one_gateway_has_the_state_at_a_time() -> None:
    spec = deployment()
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert spec["selector"]["matchLabels"] == LABELS
    assert LABELS.items() <= spec["template"]["metadata"]["labels"].items()
    claim = the("PersistentVolumeClaim", overlay("dicomweb"), NAME)
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    (volume,) = (each for each in spec["template"]["spec"]["volumes"] if "persistentVolumeClaim" in each)
    assert volume["persistentVolumeClaim"]["claimName"] == NAME
    assert spec["template"]["spec"]["securityContext"]["fsGroup"] == container()["securityContext"]["runAsUser"]


def test_pod_runs_this_version_with_an_account_without_token() -> None:
    assert container()["image"] == f"{NAME}:{VERSION}"
    pod = deployment()["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    account = the("ServiceAccount", overlay("dicomweb"), pod["serviceAccountName"])
    assert account["automountServiceAccountToken"] is False
    assert set(container()["resources"]) == {"requests", "limits"}


def test_settings_are_those_of_the_gateway_and_its_files_are_on_volumes() -> None:
    variables = {each["name"]: each["value"] for each in container()["env"]}
    assert {name.lower() for name in variables} <= set(Settings.model_fields)
    mounts = {each["name"]: each for each in container()["volumeMounts"]}
    volumes = {each["name"]: each for each in deployment()["template"]["spec"]["volumes"]}
    assert set(mounts) == set(volumes)
    assert Path(variables["STATE"]).parent == Path(mounts["state"]["mountPath"])
    assert Path(variables["RULES"]).parent == Path(mounts["rules"]["mountPath"])
    assert (mounts["pacs"]["mountPath"], volumes["pacs"]["secret"]["secretName"]) == (str(POD_SETTINGS), NAME)
    assert all(mounts[name]["readOnly"] for name in ("rules", "pacs"))
    rules = the("ConfigMap", overlay("dicomweb"), volumes["rules"]["configMap"]["name"])
    assert rules["metadata"]["name"].startswith(f"{NAME}-"), "a change of the rules would not restart the gateway"
    assert yaml.safe_load(rules["data"]["rules.yaml"]) == [], "nothing is selected by default"


def test_probes_and_monitor_use_the_port_of_the_metrics() -> None:
    (port,) = container()["ports"]
    assert port["containerPort"] == Settings.model_fields["metrics_port"].default
    paths = {kind: container()[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: (get["path"], get["port"]) for kind, get in paths.items()} == {
        "startup": ("/healthz", port["name"]),
        "liveness": ("/healthz", port["name"]),
        "readiness": ("/readyz", port["name"]),
    }
    monitor = the("PodMonitor", overlay("dicomweb"), NAME)["spec"]
    assert monitor["selector"]["matchLabels"] == LABELS
    assert [(each["port"], each["path"]) for each in monitor["podMetricsEndpoints"]] == [(port["name"], "/metrics")]
    assert f'deployment="{NAME}"' in next(each["expr"] for each in alerts() if each["alert"] == "BrainTumorPacsGatewayDown")


def test_gateway_reaches_dns_the_service_and_the_port_of_the_pacs_alone() -> None:
    spec = policy(NAME)
    assert (spec["podSelector"]["matchLabels"], spec["policyTypes"]) == (LABELS, ["Ingress", "Egress"])
    dns, service, pacs = spec["egress"]
    assert ("to" in dns, {port["port"] for port in dns["ports"]}) == (False, {53})
    (selected,) = service["to"]
    assert selected["podSelector"]["matchLabels"].items() <= pod_labels().items()
    assert (service["ports"], pacs) == ([{"port": API_PORT}], {"ports": [{"port": 443}]})
    (metrics,) = spec["ingress"]
    assert metrics["ports"] == [{"port": container()["ports"][0]["containerPort"]}]
    (prometheus,) = metrics["from"]
    assert prometheus == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}


def test_service_admits_the_gateway() -> None:
    spec = policy(f"{NAME}-requests")
    assert spec["podSelector"]["matchLabels"].items() <= pod_labels().items()
    assert spec["ingress"] == [{"from": [{"podSelector": {"matchLabels": LABELS}}], "ports": [{"port": API_PORT}]}]
    (url,) = (each["value"] for each in container()["env"] if each["name"] == "API_URL")
    assert url == "http://brain-tumor-predictor"  # KServe's Service, whose port 80 is the pod's 8080


def test_documented_overlay_has_rules_the_pacs_port_and_the_secrets_keys(tmp_path: Path) -> None:
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    shutil.copytree(ROOT / "components" / "deploy", tmp_path / "components" / "deploy")
    (tmp_path / "production").mkdir()
    for block in re.findall(r"```yaml\n(.*?)```", documentation(), re.DOTALL):
        name = re.match(r"# production/([\w-]+\.yaml)", block).group(1)  # type: ignore[union-attr]
        (tmp_path / "production" / name).write_text(block)
    documents = render(tmp_path / "production")
    volumes = {each["name"]: each for each in the("Deployment", documents)["spec"]["template"]["spec"]["volumes"]}
    rules = the("ConfigMap", documents, volumes["rules"]["configMap"]["name"])["data"]["rules.yaml"]
    assert yaml.safe_load(rules)[0]["least_slices"] == 20
    *_, pacs = the("NetworkPolicy", documents, NAME)["spec"]["egress"]
    assert [port["port"] for port in pacs["ports"]] == [8443]
    assert "ipBlock" in pacs["to"][0]
    for document in documents:
        if document["kind"] in ("Deployment", "NetworkPolicy", "ConfigMap"):
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    keys = set(re.findall(r"--from-(?:file|literal)=([\w.]+)=", documentation()))
    assert {key.lower() for key in keys - {"ca.crt"}} <= set(Settings.model_fields)
    assert f"DICOMWEB_CA={POD_SETTINGS}/ca.crt" in documentation()


def test_gateway_can_be_added_to_the_login(tmp_path: Path) -> None:
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    shutil.copytree(ROOT / "components" / "deploy", tmp_path / "components" / "deploy")
    (tmp_path / "both").mkdir()
    resources = "[../manifests/overlays/auth, ../manifests/overlays/dicomweb/gateway]"
    assert resources in documentation()
    (tmp_path / "both" / "kustomization.yaml").write_text(f"resources: {resources}\n")
    both = render(tmp_path / "both")
    assert {each["metadata"]["name"] for each in both if each["kind"] == "Deployment"} == {NAME, "oauth2-proxy"}


def test_container_image_has_every_module_that_the_gateway_imports(tmp_path: Path) -> None:
    """Copy the files of the Dockerfile's COPY lines, and import the gateway from there alone."""
    for line in (ROOT / "serving" / "dicomweb" / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line and "requirements" not in line:
            *sources, target = shlex.split(line)[1:]
            for path in (path for source in sources for path in ROOT.glob(source)):
                (shutil.copytree if path.is_dir() else copy_file)(path, tmp_path / target)
    script = f"""
import importlib, pathlib, sys
sys.path[:] = [each for each in sys.path if each and {str(ROOT)!r} != each]
sys.path.insert(0, {str(tmp_path)!r})
for path in pathlib.Path({str(tmp_path)!r}, "serving", "dicomweb").glob("*.py"):
    module = importlib.import_module(f"serving.dicomweb.{{path.stem}}" if path.stem != "__init__" else "serving.dicomweb")
    assert module.__file__.startswith({str(tmp_path)!r}), module.__file__
print(*sys.modules)"""
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"kserve", "tensorflow", "fastapi"}.isdisjoint(imported)
    lock = (ROOT / "serving" / "dicomweb" / "requirements.txt").read_text()
    locked = set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
    of_modules = importlib.metadata.packages_distributions()
    needed = {of_modules[name][0].lower().replace("_", "-") for name in imported & set(of_modules)}
    assert needed - {"brain-tumor", "setuptools"} - {"chardet", "tqdm"} <= locked  # requests and pydicom do without the last two


def copy_file(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
