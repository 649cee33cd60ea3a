"""Invalid values are rejected before anything reaches a cluster; notes warn of risky ones."""

from pathlib import Path

import pytest
import yaml

from tests.helm.charts import CHART, CI_VALUES, helm, notes, pods, rejection, render, the

DIGEST = 64 * "a"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("api.url=", "api.url: got nothing, expected the URL of the InferenceService, such as http://"),
        ("api.url=brain-tumor:8080", "at '/api/url': 'brain-tumor:8080' does not match pattern"),
        ("api.url=http://reader:hunter2@api", "api.url: got a user or password, expected a plain URL: put a token into a Secret"),
        ("api.token=abc", "at '/api': additional properties 'token' not allowed"),
        ("replicas=2", "at '': additional properties 'replicas' not allowed"),
        ("replicaCount=two", "at '/replicaCount': got string, want integer"),
        ("sessionMinutes=0", "at '/sessionMinutes': exclusiveMinimum: got 0, want 0"),
        ("sessionMinutes=1441", "at '/sessionMinutes': maximum: got 1,441, want 1,440"),
        ("colourMap=jet", "at '/colourMap': value must be one of 'inferno', 'viridis', 'cividis'"),
        ("image.tag=latest", "image.tag: got latest, expected a version"),
        ("image.pullPolicy=Sometimes", "at '/image/pullPolicy': value must be one of"),
        ("resources.limit.memory=1Gi", "at '/resources': additional properties 'limit' not allowed"),
        ("service.type=LoadBalancer", "at '/service': additional properties 'type' not allowed"),
        ("service.port=9464", "service.port: got 9464, the port of the metrics"),
        ("ingress.enabled=true", "ingress.host: got nothing, expected a host name, as ingress.enabled is true"),
        ("ingress.annotations.limit=5", "at '/ingress/annotations/limit': got number, want string"),
        ("httpRoute.enabled=true", "httpRoute.parentRefs: got none, expected the route's gateways"),
        ("httpRoute.parentRefs[0].gateway=public", "at '/httpRoute/parentRefs/0'"),
        ("networkPolicy.apiPort=http", "at '/networkPolicy/apiPort': got string, want integer"),
        ("networkPolicy.pageFrom[0].namespace=web", "at '/networkPolicy/pageFrom/0': additional properties 'namespace'"),
        ("serviceMonitor.interval=30", "at '/serviceMonitor/interval': got number, want string"),
        ("fullnameOverride=Page", "at '/fullnameOverride': 'Page' does not match pattern"),
        ("api.url=http://api?key=1", "at '/api/url': 'http://api?key=1' does not match pattern"),
        ("page.path=brain", "at '/page/path': 'brain' does not match pattern"),
        ("page.path=/a b", "at '/page/path': '/a b' does not match pattern"),
        ("image.tag=sha256:" + DIGEST, "at '/image/tag': 'sha256:"),
        ("image.tag=1.0@sha256:abc", "at '/image/tag': '1.0@sha256:abc' does not match pattern"),
        ("image.repository=ui@sha256:" + DIGEST, "at '/image/repository': 'ui@sha256:"),
        ("image.repository=registry.example/ui:1.0", "at '/image/repository': 'registry.example/ui:1.0' does not match pattern"),
        ("image.repository=https://registry.example/ui", "at '/image/repository': 'https://registry.example/ui' does not match"),
        ("ingress.host=https://brain-tumor.example", "at '/ingress/host': 'https://brain-tumor.example' does not match pattern"),
        ("ingress.host=brain-tumor.example/page", "at '/ingress/host': 'brain-tumor.example/page' does not match pattern"),
        ("ingress.host=brain-tumor.example:443", "at '/ingress/host': 'brain-tumor.example:443' does not match pattern"),
        ("httpRoute.hostnames[0]=https://a.example", "at '/httpRoute/hostnames/0': 'https://a.example' does not match pattern"),
        ("ingress.tlsSecret=tls/key", "at '/ingress/tlsSecret': 'tls/key' does not match pattern"),
        (
            "networkPolicy.apiTo=null",
            "networkPolicy.apiTo: got null, which would allow every address, expected at least one peer",
        ),
        ("networkPolicy.apiTo[0]=null", "at '/networkPolicy/apiTo/0': got null, want object"),
        ("api=null", "api.url: got nothing, expected the URL of the InferenceService"),
        ("extraEnv[0].name=api_token", "extraEnv: got api_token, expected none of the variables that the chart sets; a token"),
        ("extraEnv[0].name=page_path", "extraEnv: got page_path, expected the path in page.path"),
        ("extraEnv[0].name=PAGE_PATH", "extraEnv: got PAGE_PATH, expected the path in page.path"),
        ("extraEnv[0].name=SESSION_MINUTES", "extraEnv: got SESSION_MINUTES, expected none of the variables that the chart sets"),
        ("extraEnv[0].name=API_TOKEN", "extraEnv: got API_TOKEN, expected none of the variables that the chart sets; a token"),
    ],
)
def test_invalid_value_is_rejected_by_name(value: str, message: str) -> None:
    assert message in rejection(value)


@pytest.mark.parametrize("release", ["1page", "page.1", "1.page"])
def test_release_whose_service_would_have_an_invalid_name_is_rejected(release: str) -> None:
    assert f"release name: got {release}, which makes the Service's name {release}-brain-tumor-ui" in rejection(release=release)
    assert the("Service", render("fullnameOverride=page", release=release))["metadata"]["name"] == "page"


@pytest.mark.parametrize(
    ("repository", "tag", "image"),
    [
        ("registry.example:5000/team/ui", "1.0.0-rc.1", "registry.example:5000/team/ui:1.0.0-rc.1"),
        ("localhost:5000/ui_1", f"v1@sha256:{DIGEST}", f"localhost:5000/ui_1:v1@sha256:{DIGEST}"),
    ],
)
def test_image_may_have_a_port_and_a_digest(repository: str, tag: str, image: str) -> None:
    spec = pods(render(f"image.repository={repository}", f"image.tag={tag}"))["page"]
    assert spec["containers"][0]["image"] == image


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_null_sections_have_their_defaults(values: Path) -> None:
    sections = yaml.safe_load((CHART / "values.yaml").read_text()).keys() - yaml.safe_load(values.read_text()).keys()
    assert "page" in sections
    assert render(*(f"{section}=null" for section in sections), values=values) == render(values=values)


@pytest.mark.parametrize(
    "null", ["service.port", "image.pullPolicy", "serviceMonitor.interval", "api.tokenSecret.key", "sessionMinutes", "colourMap"]
)
def test_null_inside_a_section_means_its_default(null: str) -> None:
    sets = ["serviceMonitor.enabled=true", "api.tokenSecret.name=brain-tumor-api"]
    assert render(*sets, f"{null}=null") == render(*sets)


def test_null_removes_a_key_from_annotations_and_resources() -> None:
    affinity = "nginx.ingress.kubernetes.io/affinity"
    objects = render(
        f"ingress.annotations.{affinity.replace('.', chr(92) + '.')}=null",
        "resources.limits=null",
        values=CHART / "ci" / "ingress-values.yaml",
    )
    assert affinity not in the("Ingress", objects)["metadata"]["annotations"]
    assert list(pods(objects)["page"]["containers"][0]["resources"]) == ["requests"]


def test_password_in_the_url_is_not_repeated() -> None:
    assert "hunter2" not in rejection("api.url=http://reader:hunter2@api")


def test_minimum_replicas_above_the_maximum_are_rejected() -> None:
    message = rejection("autoscaling.enabled=true", "autoscaling.minReplicas=9")
    assert "autoscaling.minReplicas: got 9, expected at most autoscaling.maxReplicas, 4" in message


def test_without_values_helm_names_the_required_value() -> None:
    done = helm("template", "page", CHART)
    assert done.returncode != 0
    assert "api.url: got nothing, expected the URL" in done.stderr


def test_notes_state_not_for_diagnosis_and_how_to_open_the_page() -> None:
    text = notes()
    assert "It is not for diagnosis." in text
    assert "port-forward service/page-brain-tumor-ui 8501:80" in text
    assert "WARNING" not in text


def test_notes_warn_of_an_ingress_without_authentication() -> None:
    values = CHART / "ci" / "ingress-values.yaml"
    assert "anyone who reaches brain-tumor.example can use the web page." in notes(values=values)
    for annotation in (
        "example\\.com/author=me",
        "example\\.com/note=no oauth or auth yet",
        "nginx\\.ingress\\.kubernetes\\.io/auth-signin=https://login.example",
        "alb\\.ingress\\.kubernetes\\.io/auth-type=none",
        "nginx\\.ingress\\.kubernetes\\.io/auth-url=",
    ):
        open_to_all = notes(f"ingress.annotations.{annotation}", values=values)
        assert "no annotation of the Ingress requires authentication" in open_to_all, annotation
    for annotation in ("nginx\\.ingress\\.kubernetes\\.io/auth-type=basic", "alb\\.ingress\\.kubernetes\\.io/auth-type=oidc"):
        assert "requires authentication" not in notes(f"ingress.annotations.{annotation}", values=values)
    assert "can use the web page with its API token." in notes("api.tokenSecret.name=api", values=values)
    assert "any pod of the cluster can open the web page directly, past the controller or gateway" in notes(values=values)
    behind_proxy = notes(values=CHART / "ci" / "authentication-values.yaml")
    assert "https://brain-tumor.example" in behind_proxy
    assert "WARNING" not in behind_proxy
    assert "NOTE:" not in behind_proxy


def test_notes_warn_of_unencrypted_images() -> None:
    assert "are sent unencrypted" in notes("ingress.enabled=true", "ingress.host=brain-tumor.example")
    assert "are sent unencrypted" not in notes(values=CHART / "ci" / "ingress-values.yaml")


def test_notes_warn_of_a_route_without_authentication_or_session_persistence() -> None:
    values = CHART / "ci" / "httproute-values.yaml"
    assert "the chart cannot see whether the gateway authenticates" in notes(values=values)
    assert "several replicas" not in notes(values=values)
    assert "several replicas behind an HTTPRoute without httpRoute.sessionPersistence" in notes("replicaCount=2", values=values)
    assert "several replicas" in notes("autoscaling.enabled=true", values=values)
    assert "several replicas" not in notes("replicaCount=2", "httpRoute.sessionPersistence=true", values=values)
