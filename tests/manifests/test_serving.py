"""The pod: names and numbers that the code and KServe depend on."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brain_tumor.model_card import MODEL_NAME
from components.deploy.model_digest import DIGEST, UNVERIFIED
from serving import settings
from serving.settings import DRAIN_SECONDS, MAX_IMAGES, POD_SETTINGS, Settings
from tests.conftest import VERSION
from tests.manifests.render import MANIFESTS, OVERLAYS, Document, overlay, pod_labels, predictor_pod, render, the

MODEL, TRANSFORMER = "kserve-container", "transformer-container"
GPU = "nvidia.com/gpu"


@pytest.fixture(params=OVERLAYS)
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return overlay(request.param)


@pytest.fixture(params=[name for name in OVERLAYS if name != "knative"])
def on_deployments(request: pytest.FixtureRequest) -> list[Document]:
    return overlay(request.param)


def test_predictor_serves_the_version_that_kserve_mounts(documents: list[Document]) -> None:
    container = containers(documents)[MODEL]
    assert f"--model_name={MODEL_NAME}" in container["args"]
    assert 'ln -sfn /mnt/models "/tmp/models/$MODEL_VERSION"' in container["command"][2]
    assert "--model_base_path=/tmp/models" in container["args"]
    assert "--file_system_poll_wait_seconds=0" in container["args"]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the predictor's command, with a program that prints its arguments as TensorFlow Serving."""
    mounted, linked, programs = tmp_path / "mounted", tmp_path / "linked", tmp_path / "programs"
    for folder in (mounted, programs):
        folder.mkdir()
    (mounted / "saved_model.pb").touch()
    program = programs / "tensorflow_model_server"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    container = containers(overlay("standard"))[MODEL]
    places = {"/mnt/models": str(mounted), "/tmp/models": str(linked), "/tmp/no-model.config": str(tmp_path / "no-model.config")}
    words = [re.sub("|".join(places), lambda found: places[found[0]], word) for word in container["command"]]

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        environment |= {"PATH": f"{programs}:/usr/bin:/bin"}
        return subprocess.run([*words, *arguments], capture_output=True, text=True, env=environment)

    return run


def test_command_links_the_version_and_starts_tensorflow_serving_with_every_argument(
    start: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    arguments = [*containers(overlay("standard"))[MODEL]["args"], "--of=the service"]
    for _ in range(2):  # a restarted container finds the link
        done = start(*arguments, MODEL_VERSION="7")
        assert done.stderr == ""
        assert done.stdout.splitlines() == arguments
        assert (tmp_path / "linked" / "7" / "saved_model.pb").exists()


def test_command_starts_tensorflow_serving_without_a_model_before_the_first_deploy(
    start: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = start("--model_name=brain-tumor")
    assert done.returncode == 0
    waiting, *arguments = done.stdout.splitlines()
    assert waiting == "no model yet: the first deploy replaces this pod"
    config = tmp_path / "no-model.config"
    assert arguments == ["--model_name=brain-tumor", f"--model_config_file={config}"]
    assert config.read_text() == "# no model\n"


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
    # Without a model TensorFlow Serving is alive, and never ready.
    alive, metadata = "/monitoring/prometheus/metrics", f"/v1/models/{MODEL_NAME}/metadata"
    assert probes == {
        MODEL: {"startup": (8090, alive), "liveness": (8090, alive), "readiness": (8090, metadata)},
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
    (config,) = (each for each in documents if each["kind"] == "ConfigMap" and "batching.config" in each["data"])
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


def test_pod_reads_the_digest_that_the_deploy_step_annotates(documents: list[Document]) -> None:
    transformer = containers(documents)[TRANSFORMER]
    (mount,) = (each for each in transformer["volumeMounts"] if each["mountPath"] == str(POD_SETTINGS))
    volumes = {each["name"]: each for each in predictor_pod(documents)["volumes"]}
    (source,) = volumes[mount["name"]]["projected"]["sources"]
    (item,) = source["downwardAPI"]["items"]
    assert item == {"path": "MODEL_DIGEST", "fieldRef": {"fieldPath": f"metadata.annotations['{DIGEST}']"}}
    assert item["path"].lower() in Settings.model_fields
    assert settings.UNVERIFIED == UNVERIFIED


def test_container_images_can_be_named_by_digest(tmp_path: Path) -> None:
    digest = f"sha256:{'ab' * 32}"
    names = ("brain-tumor-serving", "tensorflow/serving")
    images = [{"name": name, "newName": f"registry.example/{name}", "digest": digest} for name in names]
    resource = os.path.relpath(MANIFESTS / "overlays" / "standard", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(json.dumps({"resources": [resource], "images": images}))
    named = {container["image"] for container in containers(render(tmp_path)).values()}
    assert named == {f"registry.example/{name}@{digest}" for name in names}


def test_every_container_has_requests_and_limits(documents: list[Document]) -> None:
    for container in containers(documents).values():
        assert set(container["resources"]["requests"]) >= {"cpu", "memory"}
        assert set(container["resources"]["limits"]) >= {"cpu", "memory"}


def test_deployment_modes_and_scaling() -> None:
    found = {name: the("InferenceService", overlay(name)) for name in OVERLAYS}
    modes = {name: each["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] for name, each in found.items()}
    standard = dict.fromkeys(("auth", "dev", "dicomweb", "gpu", "oci", "standard"), "Standard")
    assert modes == standard | {"knative": "Knative"}
    fields = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "containerConcurrency")
    scaling = {name: [each["spec"]["predictor"].get(field) for field in fields] for name, each in found.items()}
    assert scaling == {
        "auth": [2, 6, "cpu", 70, None],
        "dev": [1, 1, None, None, None],
        "dicomweb": [2, 6, "cpu", 70, None],
        "gpu": [2, 6, "cpu", 70, None],
        "knative": [0, 6, "concurrency", 4, Settings.model_construct().max_in_flight],
        "oci": [2, 6, "cpu", 70, None],
        "standard": [2, 6, "cpu", 70, None],
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


def test_disruption_budget_and_monitors_select_the_pod(documents: list[Document]) -> None:
    budget = the("PodDisruptionBudget", documents, MODEL_NAME)
    assert budget["spec"]["maxUnavailable"] == 1
    assert "PodDisruptionBudget" not in {
        each["kind"] for each in documents if each["metadata"]["name"] == f"{MODEL_NAME}-predictor"
    }
    monitors = service_monitors(documents)
    assert len(monitors) == 2
    for each in (budget, *monitors):
        assert each["spec"]["selector"]["matchLabels"].items() <= pod_labels().items()


def test_monitors_scrape_each_process_on_its_port(documents: list[Document]) -> None:
    found = {}
    declared = {port["name"]: port["containerPort"] for each in containers(documents).values() for port in each.get("ports", [])}
    declared["user-port"] = declared["http1"]  # Knative's name for the only port
    for monitor in service_monitors(documents):
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        address = "port" not in endpoint and endpoint["relabelings"][1]["replacement"]
        port = int(address.split(":")[1]) if address else declared[endpoint["port"]]
        found[monitor["metadata"]["name"]] = port, endpoint["path"]
    assert found == {
        "brain-tumor-transformer": (8080, "/metrics"),
        "brain-tumor-tf-serving": (8090, "/monitoring/prometheus/metrics"),
    }


def service_monitors(documents: list[Document]) -> list[Document]:
    """Return the monitors of the predictor's pod, without that of the PACS gateway."""
    return [each for each in documents if each["kind"] == "PodMonitor" and each["metadata"]["name"] != "brain-tumor-dicomweb"]


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
