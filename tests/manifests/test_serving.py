"""The pod: names and numbers that the code and KServe depend on."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from brain_tumor.model_card import MODEL_NAME
from serving.settings import DRAIN_SECONDS, MAX_IMAGES, Settings
from tests.conftest import VERSION
from tests.manifests.render import OVERLAYS, Document, overlay, pod_labels, predictor_pod, the

MODEL, TRANSFORMER = "kserve-container", "transformer-container"
GPU = "nvidia.com/gpu"


@pytest.fixture(params=OVERLAYS)
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return overlay(request.param)


@pytest.fixture(params=[name for name in OVERLAYS if name != "knative"])
def on_deployments(request: pytest.FixtureRequest) -> list[Document]:
    return overlay(request.param)


def test_one_version_of_the_model_is_pinned_by_its_uri(documents: list[Document]) -> None:
    model = predictor(documents)["model"]
    (version,) = (each["value"] for each in model["env"] if each["name"] == "MODEL_VERSION")
    assert re.fullmatch(rf"(s3|gs|pvc)://[A-Za-z0-9./-]+/{MODEL_NAME}/{version}", model["storageUri"])
    assert version.isdigit()
    container = containers(documents)[MODEL]
    assert f"--model_name={MODEL_NAME}" in container["args"]
    assert 'ln -sfn /mnt/models "/tmp/models/$MODEL_VERSION"' in container["command"][2]
    assert "--model_base_path=/tmp/models" in container["args"]
    assert "--file_system_poll_wait_seconds=0" in container["args"]


def test_command_links_the_version_and_starts_tensorflow_serving_with_every_argument(tmp_path: Path) -> None:
    mounted, linked, programs = tmp_path / "mounted", tmp_path / "linked", tmp_path / "programs"
    for folder in (mounted, programs):
        folder.mkdir()
    (mounted / "saved_model.pb").touch()
    program = programs / "tensorflow_model_server"
    program.write_text(f'#!/bin/sh\nls {linked}/7/saved_model.pb\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    container = containers(overlay("standard"))[MODEL]
    places = {"/mnt/models": str(mounted), "/tmp/models": str(linked)}
    words = [re.sub("|".join(places), lambda found: places[found[0]], word) for word in container["command"]]
    arguments = [*container["args"], "--of=the service"]
    for _ in range(2):  # a restarted container finds the link
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "MODEL_VERSION": "7"}
        done = subprocess.run([*words, *arguments], capture_output=True, text=True, env=environment)
        assert done.stderr == ""
        assert done.stdout.splitlines() == [f"{linked}/7/saved_model.pb", *arguments]
    without = subprocess.run([*words, *arguments], capture_output=True, text=True, env={"PATH": f"{programs}:/usr/bin:/bin"})
    assert without.returncode != 0
    assert "MODEL_VERSION" in without.stderr


def test_service_references_the_runtime_of_the_overlay(documents: list[Document]) -> None:
    runtime = the("ServingRuntime", documents)
    model = predictor(documents)["model"]
    assert model["runtime"] == runtime["metadata"]["name"] == "brain-tumor-tf-serving"
    assert model["modelFormat"] in runtime["spec"]["supportedModelFormats"]
    assert the("InferenceService", documents)["metadata"]["name"] == MODEL_NAME
    assert predictor(documents)["serviceAccountName"] in names("ServiceAccount", documents)
    assert "logger" not in predictor(documents), "KServe's logger writes payloads, which are patient images"


def test_container_images_are_this_version_of_ours_and_tensorflow_serving(documents: list[Document]) -> None:
    images = {name: container["image"] for name, container in containers(documents).items()}
    suffix = "-gpu" if GPU in containers(documents)[MODEL]["resources"]["limits"] else ""
    assert images == {MODEL: f"tensorflow/serving:2.20.0{suffix}", TRANSFORMER: f"brain-tumor-serving:{VERSION}"}


def test_ports_equal_the_settings_defaults_and_rest_is_first(on_deployments: list[Document]) -> None:
    settings = Settings.model_construct()
    found = containers(on_deployments)
    ports = {name: [port["containerPort"] for port in container["ports"]] for name, container in found.items()}
    assert ports == {TRANSFORMER: [settings.http_port, settings.grpc_port], MODEL: [8090, 8091]}
    assert {"--rest_api_port=8090", "--port=8091"} <= set(found[MODEL]["args"])
    assert found[TRANSFORMER]["env"] == [{"name": "PREDICTOR_HOST", "value": settings.predictor_host}]
    listed = [port["name"] for container in found.values() for port in container["ports"]]
    assert len(set(listed)) == len(listed) == 4, "a PodMonitor finds a port of the pod by its name"


def test_probes_request_the_path_of_their_kind(on_deployments: list[Document]) -> None:
    probes = {name: {kind: probe(container, kind) for kind in KINDS} for name, container in containers(on_deployments).items()}
    status, metadata = f"/v1/models/{MODEL_NAME}", f"/v1/models/{MODEL_NAME}/metadata"
    assert probes == {
        MODEL: {"startup": (8090, metadata), "liveness": (8090, status), "readiness": (8090, metadata)},
        TRANSFORMER: {"startup": (8080, "/healthz"), "liveness": (8080, "/healthz"), "readiness": (8080, "/readyz")},
    }
    assert (
        containers(on_deployments)[TRANSFORMER]["readinessProbe"]["timeoutSeconds"]
        > Settings.model_construct().predictor_timeout_seconds
    )


def test_requests_in_flight_end_before_the_pod_does(on_deployments: list[Document]) -> None:
    found = containers(on_deployments)
    sleeps = {name: container["lifecycle"]["preStop"]["sleep"]["seconds"] for name, container in found.items()}
    drained = sleeps[TRANSFORMER] + DRAIN_SECONDS
    assert sleeps[TRANSFORMER] >= 5
    assert sleeps[MODEL] >= drained, "the model must outlive the transformer that drains"
    assert predictor(on_deployments)["terminationGracePeriodSeconds"] > max(sleeps[MODEL], drained)


def test_batches_fit_the_largest_request_and_are_monitored(documents: list[Document]) -> None:
    config = the("ConfigMap", documents)
    pod = predictor_pod(documents)
    (volume,) = (each for each in pod["volumes"] if "configMap" in each)
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    (mount,) = (each for each in containers(documents)[MODEL]["volumeMounts"] if each["name"] == volume["name"])
    given = dict(each.removeprefix("--").split("=") for each in containers(documents)[MODEL]["args"])
    for flag in ("batching_parameters_file", "monitoring_config_file"):
        folder, name = given[flag].rsplit("/", 1)
        assert folder == mount["mountPath"]
        assert name in config["data"]
    assert "max_batch_size { value: " + str(MAX_IMAGES) in config["data"]["batching.config"]
    assert 'path: "/monitoring/prometheus/metrics"' in config["data"]["monitoring.config"]
    assert mount["readOnly"] is True


def test_every_container_has_requests_and_limits(documents: list[Document]) -> None:
    for container in containers(documents).values():
        assert set(container["resources"]["requests"]) >= {"cpu", "memory"}
        assert set(container["resources"]["limits"]) >= {"cpu", "memory"}


def test_deployment_modes_and_scaling() -> None:
    found = {name: the("InferenceService", overlay(name)) for name in OVERLAYS}
    modes = {name: each["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] for name, each in found.items()}
    assert modes == {"dev": "Standard", "gpu": "Standard", "knative": "Knative", "standard": "Standard"}
    fields = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "containerConcurrency", "canaryTrafficPercent")
    scaling = {name: [each["spec"]["predictor"].get(field) for field in fields] for name, each in found.items()}
    assert scaling == {
        "dev": [1, 1, None, None, None, None],
        "gpu": [2, 6, "cpu", 70, None, None],
        "knative": [0, 6, "concurrency", 4, Settings.model_construct().max_in_flight, 10],
        "standard": [2, 6, "cpu", 70, None, None],
    }
    assert found["standard"]["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"


def test_knative_pod_has_no_field_that_knative_rejects_by_default() -> None:
    pod = predictor_pod(overlay("knative"))
    ports = [port for container in pod["containers"] for port in container.get("ports", [])]
    assert [(port["name"], port["containerPort"]) for port in ports] == [("http1", 8080)]
    rejected = {"terminationGracePeriodSeconds", "securityContext", "topologySpreadConstraints", "tolerations", "nodeSelector"}
    assert rejected.isdisjoint(pod)
    for container in pod["containers"]:
        assert {"lifecycle", "startupProbe"}.isdisjoint(container)
    assert {"livenessProbe", "readinessProbe"}.isdisjoint(containers(overlay("knative"))[MODEL])
    assert probe(containers(overlay("knative"))[TRANSFORMER], "readiness") == (8080, "/readyz")


def test_gpu_overlay_requests_one_gpu_and_differs_in_nothing_else() -> None:
    plain, gpu = (predictor_pod(overlay(name)) for name in ("standard", "gpu"))
    assert gpu["containers"][0]["resources"]["limits"][GPU] == "1"
    assert gpu["tolerations"] == [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    for pod in (plain, gpu):
        pod.pop("tolerations", None)
        del pod["containers"][0]["image"], pod["containers"][0]["resources"]
    assert gpu == plain


def test_dev_overlay_reads_the_model_from_its_volume() -> None:
    documents = overlay("dev")
    claim = the("PersistentVolumeClaim", documents)["metadata"]["name"]
    assert predictor(documents)["model"]["storageUri"].startswith(f"pvc://{claim}/")


def test_disruption_budget_and_monitors_select_the_pod(documents: list[Document]) -> None:
    budget = the("PodDisruptionBudget", documents)
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["metadata"]["name"] != f"{MODEL_NAME}-predictor", "KServe deletes a budget with this name"
    monitors = [each for each in documents if each["kind"] == "PodMonitor"]
    assert len(monitors) == 2
    for each in (budget, *monitors):
        assert each["spec"]["selector"]["matchLabels"].items() <= pod_labels().items()


def test_monitors_scrape_each_process_on_its_port(documents: list[Document]) -> None:
    found = {}
    declared = {port["name"]: port["containerPort"] for each in containers(documents).values() for port in each.get("ports", [])}
    declared["user-port"] = declared["http1"]  # Knative's name for the only port
    for monitor in (each for each in documents if each["kind"] == "PodMonitor"):
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        address = "port" not in endpoint and endpoint["relabelings"][1]["replacement"]
        port = int(address.split(":")[1]) if address else declared[endpoint["port"]]
        found[monitor["metadata"]["name"]] = port, endpoint["path"]
    assert found == {
        "brain-tumor-transformer": (8080, "/metrics"),
        "brain-tumor-tf-serving": (8090, "/monitoring/prometheus/metrics"),
    }


KINDS = ("startup", "liveness", "readiness")


def probe(container: Document, kind: str) -> tuple[int, str]:
    """Return the port and path of a probe."""
    request = container[f"{kind}Probe"]["httpGet"]
    return request["port"], request["path"]


def predictor(documents: list[Document]) -> Any:
    """Return the predictor of the InferenceService."""
    return the("InferenceService", documents)["spec"]["predictor"]


def containers(documents: list[Document]) -> dict[str, Document]:
    """Return the pod's containers by name."""
    return {container["name"]: container for container in predictor_pod(documents)["containers"]}


def names(kind: str, documents: list[Document]) -> set[str]:
    """Return the names of all objects of a kind."""
    return {each["metadata"]["name"] for each in documents if each["kind"] == kind}
