"""Render the overlays with Kustomize, and build the pods that KServe and Katib create from them."""

import copy
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.tools import tool

MANIFESTS = Path(__file__).parents[2] / "manifests"
OVERLAYS = sorted(folder.name for folder in (MANIFESTS / "overlays").iterdir())
Document = dict[str, Any]


def overlay(name: str) -> list[Document]:
    """Return the objects of an overlay."""
    return render(MANIFESTS / "overlays" / name)


def render(folder: Path) -> list[Document]:
    """Return the objects of a folder with a kustomization."""
    return copy.deepcopy(_rendered(folder))


def experiment() -> Document:
    """Return the Katib experiment."""
    return yaml.safe_load((MANIFESTS / "katib" / "experiment.yaml").read_text())


def the(kind: str, documents: list[Document], name: str | None = None) -> Document:
    """Return the only object of a kind, or the object of a kind and name."""
    (found,) = (each for each in documents if each["kind"] == kind and name in (None, each["metadata"]["name"]))
    return found


def predictor_pod(documents: list[Document]) -> Document:
    """Return KServe's pod spec: the runtime's container merged with the service's `model`, then the transformer."""
    runtime = the("ServingRuntime", documents)["spec"]
    predictor = copy.deepcopy(the("InferenceService", documents)["spec"]["predictor"])
    (container,) = runtime["containers"]
    model = predictor["model"]
    own = {key: value for key, value in model.items() if key not in ("modelFormat", "runtime", "storageUri")}
    merged = container | own | {"args": container["args"] + model.get("args", [])}
    pod = {"containers": [merged, *predictor["containers"]], "volumes": runtime["volumes"] + predictor["volumes"]}
    of_pod = ("securityContext", "terminationGracePeriodSeconds", "enableServiceLinks", "serviceAccountName")
    return pod | {key: predictor[key] for key in (*of_pod, "tolerations", "topologySpreadConstraints") if key in predictor}


def pod_labels() -> dict[str, str]:
    """Return the labels that KServe sets on the pod."""
    return {
        "app": "isvc.brain-tumor-predictor",
        "component": "predictor",
        "serving.kserve.io/inferenceservice": "brain-tumor",
    }


def trial_pod() -> Document:
    """Return the pod spec of a Katib trial, without Katib's sidecar."""
    return experiment()["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]


@cache
def _rendered(folder: Path) -> list[Document]:
    done = subprocess.run([tool("kubectl"), "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def main() -> None:
    """Write a file for each overlay and one for the trials, for a policy checker: `python -m tests.manifests.render FOLDER`."""
    (folder,) = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    pods = {name: (predictor_pod(overlay(name)), overlay(name)) for name in OVERLAYS} | {"katib": (trial_pod(), [])}
    for name, (spec, documents) in pods.items():
        metadata = {"name": name, "namespace": "brain-tumor", "labels": pod_labels()}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all([pod, *documents], sort_keys=False))


if __name__ == "__main__":
    main()
