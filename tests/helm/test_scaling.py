"""Replicas, autoscaling and disruptions."""

from tests.helm.charts import CHART, render, the


def test_replicas_come_from_the_values_or_the_autoscaler() -> None:
    assert the("Deployment", render("replicaCount=3"))["spec"]["replicas"] == 3
    scaled = render("replicaCount=3", values=CHART / "ci" / "autoscaling-values.yaml")
    assert "replicas" not in the("Deployment", scaled)["spec"]


def test_autoscaler_scales_the_deployment_by_cpu() -> None:
    objects = render("autoscaling.maxReplicas=6", values=CHART / "ci" / "autoscaling-values.yaml")
    spec = the("HorizontalPodAutoscaler", objects)["spec"]
    deployment = the("Deployment", objects)
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 6)
    (metric,) = spec["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    # Utilisation is a fraction of the requested CPU: without a request the autoscaler does nothing.
    assert deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "100m"


def test_node_with_the_only_replica_can_be_drained() -> None:
    objects = render("replicaCount=1")
    spec = the("PodDisruptionBudget", objects)["spec"]
    assert "minAvailable" not in spec
    assert spec["maxUnavailable"] == 1
    assert spec["selector"] == the("Deployment", objects)["spec"]["selector"]
    assert "PodDisruptionBudget" not in {each["kind"] for each in render("podDisruptionBudget.enabled=false")}
