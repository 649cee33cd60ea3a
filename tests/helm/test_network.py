"""Connections to and from the web page, and session affinity."""

from typing import Any

from tests.crds import crd_errors, require_crds
from tests.helm.charts import CHART, notes, pods, render, the

SELECTOR = {"app.kubernetes.io/name": "brain-tumor-ui", "app.kubernetes.io/instance": "page"}
MONITORING = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}


def policy(*sets: str) -> dict[str, Any]:
    return the("NetworkPolicy", render("networkPolicy.enabled=true", *sets))["spec"]


def test_nothing_is_exposed_outside_the_cluster_by_default() -> None:
    objects = render()
    assert {each["kind"] for each in objects} == {"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "Pod"}
    assert the("Service", objects)["spec"]["type"] == "ClusterIP"


def test_service_selects_the_pods_and_keeps_a_client_on_one() -> None:
    objects = render("service.port=8080", "service.annotations.sticky=yes")
    service = the("Service", objects)
    template = the("Deployment", objects)["spec"]["template"]
    assert service["spec"]["selector"] == SELECTOR
    assert SELECTOR.items() <= template["metadata"]["labels"].items()
    assert the("Deployment", objects)["spec"]["selector"]["matchLabels"] == SELECTOR
    assert service["spec"]["sessionAffinity"] == "ClientIP"
    assert {each["targetPort"]: each["port"] for each in service["spec"]["ports"]} == {"http": 8080, "metrics": 9464}
    assert {each["targetPort"] for each in service["spec"]["ports"]} == {
        each["name"] for each in template["spec"]["containers"][0]["ports"]
    }
    assert service["metadata"]["annotations"] == {"sticky": "yes"}


def test_ingress_routes_to_the_service_with_a_sticky_cookie() -> None:
    objects = render(values=CHART / "ci" / "ingress-values.yaml")
    ingress = the("Ingress", objects)
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"] == [{"hosts": ["brain-tumor.example"], "secretName": "brain-tumor-tls"}]
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert (rule["host"], path["path"], path["pathType"]) == ("brain-tumor.example", "/", "Prefix")
    assert path["backend"]["service"] == {"name": the("Service", objects)["metadata"]["name"], "port": {"name": "http"}}
    assert ingress["metadata"]["annotations"] == {
        "nginx.ingress.kubernetes.io/affinity": "cookie",
        "nginx.ingress.kubernetes.io/affinity-mode": "persistent",
        "nginx.ingress.kubernetes.io/session-cookie-name": "brain-tumor-ui",
        "nginx.ingress.kubernetes.io/proxy-body-size": "514m",
    }


def test_authentication_annotations_are_added_to_the_sticky_cookie() -> None:
    annotations = the("Ingress", render(values=CHART / "ci" / "authentication-values.yaml"))["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/auth-url"] == "https://$host/oauth2/auth"
    assert annotations["nginx.ingress.kubernetes.io/affinity"] == "cookie"


def test_http_route_routes_to_the_service() -> None:
    objects = render(values=CHART / "ci" / "httproute-values.yaml")
    route = the("HTTPRoute", objects)
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"] == {
        "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
        "hostnames": ["brain-tumor.example"],
        "rules": [{"backendRefs": [{"name": the("Service", objects)["metadata"]["name"], "port": 80}]}],
    }


def test_page_path_moves_every_route_probe_and_note() -> None:
    ingress = render("page.path=/mri/brain/", values=CHART / "ci" / "ingress-values.yaml")
    assert [path["path"] for path in the("Ingress", ingress)["spec"]["rules"][0]["http"]["paths"]] == ["/mri/brain"]
    objects = render("page.path=/brain", values=CHART / "ci" / "httproute-values.yaml")
    (rule,) = the("HTTPRoute", objects)["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/brain"}}]
    (page,) = pods(objects)["page"]["containers"]
    assert {page[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")} == {"/brain/_stcore/health"}
    assert {"name": "PAGE_PATH", "value": "/brain"} in page["env"]
    (test,) = pods(objects)["test"]["containers"]
    assert {"name": "PAGE_URL", "value": "http://page-brain-tumor-ui:80/brain"} in test["env"]
    text = notes("page.path=/brain", values=CHART / "ci" / "ingress-values.yaml")
    assert "then http://localhost:8501/brain " in text
    assert "https://brain-tumor.example/brain " in text
    assert "brain-tumor.example, on the gateway's port, path /brain" in notes(
        "page.path=/brain", values=CHART / "ci" / "httproute-values.yaml"
    )


def test_http_route_with_a_path_matches_its_crd() -> None:
    require_crds()
    assert crd_errors(the("HTTPRoute", render("page.path=/brain", values=CHART / "ci" / "httproute-values.yaml"))) == []


def test_session_persistence_is_all_that_the_standard_channel_rejects() -> None:
    require_crds()
    route = the("HTTPRoute", render("httpRoute.sessionPersistence=true", values=CHART / "ci" / "httproute-values.yaml"))
    assert route["spec"]["rules"][0]["sessionPersistence"] == {"type": "Cookie", "sessionName": "brain-tumor-ui"}
    (error,) = crd_errors(route)
    assert error.startswith("spec.rules[0]: Additional properties are not allowed ('sessionPersistence' was unexpected)")


def test_policy_admits_everyone_to_the_page_and_monitoring_to_the_metrics() -> None:
    spec = policy()
    assert spec["podSelector"]["matchLabels"] == SELECTOR
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"ports": [{"port": 8501}]}, {"ports": [{"port": 9464}], "from": [MONITORING]}]


def test_policy_allows_the_page_dns_and_the_api() -> None:
    dns, api = policy("networkPolicy.apiTo[0].namespaceSelector.matchLabels.team=models", "networkPolicy.apiPort=8443")["egress"]
    assert dns == {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    assert api == {"ports": [{"port": 8443}], "to": [{"namespaceSelector": {"matchLabels": {"team": "models"}}}]}
    assert policy()["egress"][1] == {"ports": [{"port": 8080}], "to": [{"namespaceSelector": {}}]}


def test_policy_can_admit_the_ingress_controller_alone_and_helm_test() -> None:
    objects = render(values=CHART / "ci" / "authentication-values.yaml")
    page, _ = the("NetworkPolicy", objects)["spec"]["ingress"]
    controller, test = page["from"]
    assert controller == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}
    assert test["podSelector"]["matchLabels"].items() <= the("Pod", objects)["metadata"]["labels"].items()


def test_policy_can_block_the_metrics() -> None:
    options = ["--set-json=networkPolicy.metricsFrom=[]"]
    (page,) = the("NetworkPolicy", render("networkPolicy.enabled=true", options=options))["spec"]["ingress"]
    assert page == {"ports": [{"port": 8501}]}
