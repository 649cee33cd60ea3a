"""Invalid values are rejected before anything reaches a cluster; notes warn of risky ones."""

import pytest

from tests.helm.charts import CHART, helm, notes, rejection


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("api.url=", "api.url: got nothing, expected the URL of the InferenceService, such as http://"),
        ("api.url=brain-tumor:8080", "at '/api/url': 'brain-tumor:8080' does not match pattern"),
        ("api.url=http://reader:hunter2@api", "api.url: got a user or password, expected a plain URL: put a token into a Secret"),
        ("api.token=abc", "at '/api': additional properties 'token' not allowed"),
        ("replicas=2", "at '': additional properties 'replicas' not allowed"),
        ("replicaCount=two", "at '/replicaCount': got string, want integer"),
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
        ("extraEnv[0].name=API_TOKEN", "extraEnv: got API_TOKEN, expected none of the variables that the chart sets; a token"),
    ],
)
def test_invalid_value_is_rejected_by_name(value: str, message: str) -> None:
    assert message in rejection(value)


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
    by_hand = notes("ingress.annotations.example\\.com/author=me", values=values)
    assert "no annotation of the Ingress requires authentication" in by_hand
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
