"""The overlay `auth`: who reaches the proxy, the page and the API. `make test-auth` runs the proxy itself."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.auth.build import version
from tests.conftest import ROOT
from tests.helm.charts import render as render_chart
from tests.manifests.render import MANIFESTS, Document, overlay, pod_labels, render, the
from tests.pod_security import violations

PAGE_VALUES = MANIFESTS / "overlays" / "auth" / "page-values.yaml"
PROXY = {"app.kubernetes.io/name": "oauth2-proxy"}
API_PATHS = ("/predict", "/model", "/v1/", "/v2/")
NAMESPACE = "kubernetes.io/metadata.name"


def proxy_pod() -> Document:
    return the("Deployment", overlay("auth"))["spec"]["template"]


def policy(name: str) -> Document:
    return the("NetworkPolicy", overlay("auth"), name)["spec"]


@pytest.fixture(scope="module")
def page() -> list[Document]:
    """The page's chart as the documentation installs it."""
    return render_chart(values=PAGE_VALUES)


def test_proxy_is_of_the_tested_version_and_meets_pod_security_restricted() -> None:
    spec = proxy_pod()["spec"]
    (container,) = spec["containers"]
    assert container["image"] == f"quay.io/oauth2-proxy/oauth2-proxy:{version()}"
    assert violations(spec) == []
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["runAsUser"] == 65532
    assert spec["automountServiceAccountToken"] is False


def test_gateways_reach_the_proxy_and_nothing_else() -> None:
    (rule,) = policy("oauth2-proxy")["ingress"]
    assert rule["ports"] == [{"port": 4180}]
    (gateways,) = rule["from"]
    assert set(gateways) == {"namespaceSelector"}
    (expression,) = gateways["namespaceSelector"]["matchExpressions"]
    standard = the("NetworkPolicy", overlay("standard"), "brain-tumor-requests")["spec"]["ingress"][0]["from"]
    assert gateways in standard
    text = yaml.safe_dump(
        [each for each in overlay("auth") if each["kind"] == "NetworkPolicy" and each["spec"] != policy("oauth2-proxy")]
    )
    assert not [name for name in expression["values"] if name in text]
    labels = the("InferenceService", overlay("auth"))["metadata"]["labels"]
    assert labels["networking.kserve.io/visibility"] == "cluster-local", "KServe would make a route past the proxy"


def test_proxy_page_and_prometheus_alone_reach_the_api(page: list[Document]) -> None:
    policies = [each["spec"] for each in overlay("auth") if each["kind"] == "NetworkPolicy"]
    of_the_api = [each for each in policies if each["podSelector"].get("matchLabels", {}).items() <= pod_labels().items()]
    rules = [rule for each in of_the_api for rule in each.get("ingress", [])]
    requests, metrics = sorted(rules, key=lambda rule: len(rule["ports"]))
    assert (requests["ports"], metrics["ports"]) == ([{"port": 8080}], [{"port": 8080}, {"port": 8090}])
    assert metrics["from"] == [{"namespaceSelector": {"matchLabels": {NAMESPACE: "monitoring"}}}]
    proxy, page_and_its_test = requests["from"]
    assert proxy == {"podSelector": {"matchLabels": PROXY}}
    assert page_and_its_test["namespaceSelector"] == {"matchLabels": {NAMESPACE: "brain-tumor-ui"}}
    (expression,) = page_and_its_test["podSelector"]["matchExpressions"]
    pods = (the("Deployment", page)["spec"]["template"], the("Pod", page))
    assert set(expression["values"]) == {pod["metadata"]["labels"][expression["key"]] for pod in pods}
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies


def test_proxy_alone_opens_the_page(page: list[Document]) -> None:
    opened, metrics = the("NetworkPolicy", page)["spec"]["ingress"]
    proxy, helm_test = opened["from"]
    assert proxy == {"namespaceSelector": {"matchLabels": {NAMESPACE: "brain-tumor"}}, "podSelector": {"matchLabels": PROXY}}
    assert set(helm_test) == {"podSelector"}
    assert metrics["ports"] == [{"port": 9464}]
    assert PROXY.items() <= proxy_pod()["metadata"]["labels"].items()


def test_proxy_reaches_what_it_proxies_and_the_issuer(page: list[Document]) -> None:
    dns, api, web, issuer = policy("oauth2-proxy")["egress"]
    assert policy("oauth2-proxy")["policyTypes"] == ["Ingress", "Egress"]
    assert ("to" in dns, {port["port"] for port in dns["ports"]}, issuer) == (False, {53}, {"ports": [{"port": 443}]})
    (selected,) = api["to"]
    assert selected["podSelector"]["matchLabels"].items() <= pod_labels().items()
    (selected,) = web["to"]
    pod = the("Deployment", page)["spec"]["template"]
    assert selected["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert (api["ports"], web["ports"]) == (
        [{"port": 8080}],
        [{"port": pod["spec"]["containers"][0]["ports"][0]["containerPort"]}],
    )
    (container,) = proxy_pod()["spec"]["containers"]
    upstreams = {each.removeprefix("--upstream=") for each in container["args"] if each.startswith("--upstream=")}
    service = the("Service", page)["metadata"]["name"]
    url = yaml.safe_load(PAGE_VALUES.read_text())["api"]["url"]
    assert upstreams == {f"http://{service}.brain-tumor-ui.svc.cluster.local/", *(f"{url}{path}" for path in API_PATHS)}


def test_documented_overlay_gives_the_proxy_its_issuer_and_its_secrets(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "cluster.md").read_text().partition("## 7. A login")[2]
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    shutil.copytree(ROOT / "components" / "deploy", tmp_path / "components" / "deploy")
    (tmp_path / "production").mkdir()
    (tmp_path / "production" / "kustomization.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    documents = render(tmp_path / "production")
    spec = the("Deployment", documents)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    (source,) = container["envFrom"]
    settings = the("ConfigMap", documents, source["configMapRef"]["name"])
    assert set(settings["data"]) == {f"OAUTH2_PROXY_{name}" for name in ("OIDC_ISSUER_URL", "CLIENT_ID", "REDIRECT_URL")}
    assert source["configMapRef"]["name"].startswith("oauth2-proxy-"), "a change of the settings would restart no pod"
    (mount,), (volume,) = container["volumeMounts"], spec["volumes"]
    keys = {each.rpartition("/")[2] for each in container["args"] if mount["mountPath"] in each}
    assert volume["secret"]["secretName"] in text
    assert keys == set(re.findall(r"--from-(?:file|literal)=([a-z-]+)=", text)) == {"client-secret", "cookie-secret"}
