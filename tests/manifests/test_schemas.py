"""Validation of every object against the schema of its kind, as by an API server: an unknown field is an error."""

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.conftest import ROOT, VERSION
from tests.crds import crd_errors, require_crds
from tests.manifests.render import OVERLAYS, Document, experiment, overlay, predictor_pod, the, trial_pod
from tests.pod_security import violations

CUSTOM = ("InferenceService", "ServingRuntime", "PodMonitor")
KUBERNETES = ("1.30", kubernetes_validate.latest_version())
# The kinds that each overlay adds to the base.
KINDS = {
    "auth": {"NetworkPolicy", "Deployment", "Service"},
    "dev": {"PersistentVolumeClaim"},
    "dicomweb": {"NetworkPolicy", "Deployment", "PersistentVolumeClaim"},
    "gpu": {"NetworkPolicy"},
    "knative": set(),
    "oci": {"NetworkPolicy"},
    "standard": {"NetworkPolicy"},
}
BASE = {"Namespace", "ServiceAccount", "Role", "RoleBinding", "ConfigMap", "PodDisruptionBudget", *CUSTOM}


def test_every_overlay_has_its_kinds_listed() -> None:
    assert set(OVERLAYS) == set(KINDS)


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlay_adds_its_kinds_to_the_base(name: str) -> None:
    assert {document["kind"] for document in overlay(name)} == BASE | KINDS[name]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", OVERLAYS)
def test_kubernetes_objects_match_their_schema(name: str, version: str) -> None:
    for document in overlay(name):
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_custom_resources_match_their_schema(name: str) -> None:
    require_crds()
    for document in overlay(name):
        if document["kind"] in CUSTOM:
            assert crd_errors(document) == [], document["metadata"]["name"]


@pytest.mark.parametrize("version", KUBERNETES)
def test_pods_match_their_schema(version: str) -> None:
    for spec in pods().values():
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}
        kubernetes_validate.validate(document, version, strict=True)
    job = experiment()["spec"]["trialTemplate"]["trialSpec"]
    kubernetes_validate.validate(job | {"metadata": {"name": "trial"}}, version, strict=True)


def test_every_pod_meets_pod_security_restricted_with_a_read_only_root() -> None:
    for name, spec in pods().items():
        assert violations(spec) == [], name
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
            assert (spec.get("securityContext", {}) | container["securityContext"])["runAsUser"] == 65532


def test_model_loader_of_the_cluster_test_is_admitted_and_mounts_the_volume_of_the_dev_overlay() -> None:
    loader = yaml.safe_load((ROOT / "tests" / "cluster" / "model-loader.yaml").read_text())
    for version in KUBERNETES:
        kubernetes_validate.validate(loader, version, strict=True)
    assert violations(loader["spec"]) == []
    claim = the("PersistentVolumeClaim", overlay("dev"))["metadata"]["name"]
    assert [volume["persistentVolumeClaim"]["claimName"] for volume in loader["spec"]["volumes"]] == [claim]
    assert loader["spec"]["containers"][0]["image"] == f"brain-tumor-serving:{VERSION}"


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_is_in_the_namespace_of_the_overlay(name: str) -> None:
    documents = overlay(name)
    assert the("Namespace", documents)["metadata"]["name"] == "brain-tumor"
    assert {each["metadata"].get("namespace") for each in documents if each["kind"] != "Namespace"} == {"brain-tumor"}


def pods() -> dict[str, Document]:
    """Return the pod spec of each overlay, of the Katib trials and of the PACS gateway, by name."""
    predictors = {name: predictor_pod(overlay(name)) for name in OVERLAYS}
    gateway = the("Deployment", overlay("dicomweb"))["spec"]["template"]["spec"]
    return predictors | {"katib": trial_pod(), "gateway": gateway}
