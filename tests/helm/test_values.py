"""Values that cannot be right are refused before anything reaches a cluster, and notes warn of what may not be."""

import pytest

from tests.helm.charts import CHART, helm, notes, refusal


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("api.url=", "api.url is required: the URL of the InferenceService, such as http://"),
        ("api.url=brain-tumor:8080", "at '/api/url': 'brain-tumor:8080' does not match pattern"),
        ("api.url=http://reader:hunter2@api", "api.url must hold no user and password: put a token into a Secret"),
        ("api.token=abc", "at '/api': additional properties 'token' not allowed"),
        ("replicas=2", "at '': additional properties 'replicas' not allowed"),
        ("replicaCount=two", "at '/replicaCount': got string, want integer"),
        ("colourMap=jet", "at '/colourMap': value must be one of 'inferno', 'viridis', 'cividis'"),
        ("image.tag=latest", "image.tag is latest, which names no version"),
        ("image.pullPolicy=Sometimes", "at '/image/pullPolicy': value must be one of"),
        ("resources.limit.memory=1Gi", "at '/resources': additional properties 'limit' not allowed"),
        ("service.type=LoadBalancer", "at '/service': additional properties 'type' not allowed"),
        ("service.port=9464", "service.port is 9464, which the metrics have"),
        ("ingress.enabled=true", "ingress.host is required with ingress.enabled"),
        ("ingress.annotations.limit=5", "at '/ingress/annotations/limit': got number, want string"),
        ("httpRoute.enabled=true", "httpRoute.parentRefs is required with httpRoute.enabled"),
        ("httpRoute.parentRefs[0].gateway=public", "at '/httpRoute/parentRefs/0'"),
        ("networkPolicy.apiPort=http", "at '/networkPolicy/apiPort': got string, want integer"),
        ("networkPolicy.pageFrom[0].namespace=web", "at '/networkPolicy/pageFrom/0': additional properties 'namespace'"),
        ("serviceMonitor.interval=30", "at '/serviceMonitor/interval': got number, want string"),
        ("fullnameOverride=Page", "at '/fullnameOverride': 'Page' does not match pattern"),
        ("extraEnv[0].name=API_TOKEN", "extraEnv must not set API_TOKEN, which the chart sets; a token"),
    ],
)
def test_a_wrong_value_is_refused_by_name(value: str, message: str) -> None:
    assert message in refusal(value)


def test_a_password_in_the_url_is_not_repeated() -> None:
    assert "hunter2" not in refusal("api.url=http://reader:hunter2@api")


def test_more_replicas_at_least_than_at_most_are_refused() -> None:
    message = refusal("autoscaling.enabled=true", "autoscaling.minReplicas=9")
    assert "autoscaling.minReplicas is 9, above autoscaling.maxReplicas, 4" in message


def test_without_values_helm_says_what_it_needs() -> None:
    done = helm("template", "page", CHART)
    assert done.returncode != 0
    assert "api.url is required" in done.stderr


def test_notes_say_that_the_page_is_not_for_diagnosis_and_how_to_reach_it() -> None:
    said = notes()
    assert "It is not for diagnosis." in said
    assert "port-forward service/page-brain-tumor-ui 8501:80" in said
    assert "WARNING" not in said


def test_notes_warn_where_the_ingress_asks_nobody_who_they_are() -> None:
    values = CHART / "ci" / "ingress-values.yaml"
    assert "whoever reaches brain-tumor.example can use the page." in notes(values=values)
    by_hand = notes("ingress.annotations.example\\.com/author=me", values=values)
    assert "no annotation of the Ingress asks for authentication" in by_hand
    assert "can use the page with the page's API token." in notes("api.tokenSecret.name=api", values=values)
    assert "any pod of the cluster can open the page past what stands in front" in notes(values=values)
    behind_proxy = notes(values=CHART / "ci" / "authentication-values.yaml")
    assert "https://brain-tumor.example" in behind_proxy
    assert "WARNING" not in behind_proxy
    assert "NOTE:" not in behind_proxy


def test_notes_warn_of_images_in_the_clear() -> None:
    assert "travel in the clear" in notes("ingress.enabled=true", "ingress.host=brain-tumor.example")
    assert "travel in the clear" not in notes(values=CHART / "ci" / "ingress-values.yaml")


def test_notes_warn_of_a_route_that_may_authenticate_nobody_or_lose_sessions() -> None:
    values = CHART / "ci" / "httproute-values.yaml"
    assert "the chart cannot see whether the gateway authenticates" in notes(values=values)
    assert "several replicas" not in notes(values=values)
    assert "several replicas behind an HTTPRoute without httpRoute.sessionPersistence" in notes("replicaCount=2", values=values)
    assert "several replicas" in notes("autoscaling.enabled=true", values=values)
    assert "several replicas" not in notes("replicaCount=2", "httpRoute.sessionPersistence=true", values=values)
