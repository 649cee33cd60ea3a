import inspect
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from components import COMPONENTS_IMAGE
from components.architectures import FIELDS
from components.train.component import train
from pipelines.compile import COMPILED, MANIFEST, compile_manifest, compile_pipeline, version_name
from pipelines.pipeline import brain_tumor
from tests.crds import crd_errors, require_crds

STORE = {
    "brain-tumor-store": [
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"),
        *("KAGGLE_USERNAME", "KAGGLE_KEY"),
    ]
}
MLFLOW = {"brain-tumor-mlflow": ["MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"]}
SIGNING = {"brain-tumor-signing-key": ["MODEL_SIGNING_KEY"]}
TRUSTED = {"brain-tumor-trusted-keys": ["MODEL_TRUSTED_KEYS"]}


@pytest.fixture(scope="module")
def spec() -> dict:
    return next(yaml.safe_load_all(COMPILED.read_text()))


@pytest.fixture(scope="module")
def on_kubernetes() -> dict:
    """Return the Kubernetes settings of each executor."""
    _, platform = yaml.safe_load_all(COMPILED.read_text())
    return platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def tasks(spec: dict) -> Iterator[tuple[str, str, dict]]:
    """Yield every task with the name of its DAG."""
    for name, component in [*spec["components"].items(), ("root", spec["root"])]:
        for task, declared in component.get("dag", {}).get("tasks", {}).items():
            yield name, task, declared


def test_committed_pipeline_equals_the_compiled_code(tmp_path: Path) -> None:
    compiled = compile_pipeline(tmp_path / "pipeline.yaml")
    assert compiled.read_text() == COMPILED.read_text(), "run `make compile` and commit pipelines/brain_tumor.yaml"
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.yaml"]


def test_hyper_parameters_are_one_parameter_of_the_pipeline_and_seed_another() -> None:
    declared = brain_tumor.component_spec.inputs
    assert (declared["hyperparameters"].type, declared["hyperparameters"].default) == ("Dict", {})
    assert (declared["seed"].type, declared["seed"].default) == ("Integer", FIELDS["seed"].default)
    assert set(declared) & FIELDS.keys() == {"seed"}
    step = inspect.signature(train.python_func).parameters
    inputs = {name: step[name].annotation for name in step if name not in ("shards", "model", "logs", "metrics")}
    assert inputs == {"hyperparameters": dict, "seed": int, "checkpoint_dir": str, "gpus": int}


def test_first_task_gets_the_hyper_parameters(spec: dict) -> None:
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert [name for name, task in tasks.items() if not task.get("dependentTasks")] == ["ingest"]
    for step in ("ingest", "train"):
        given = tasks[step]["inputs"]["parameters"]["hyperparameters"]
        assert given == {"componentInputParameter": "pipelinechannel--hyperparameters"}


def test_steps_run_one_after_the_other(spec: dict) -> None:
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    order = ["ingest", "preprocess", "train", "evaluate", "gate"]
    for earlier, later in itertools.pairwise(order):
        assert earlier in tasks[later]["dependentTasks"]
    branches = next(task for name, task in tasks.items() if "condition-branches" in name)
    assert branches["dependentTasks"] == ["evaluate", "gate", "train"]


def test_tasks_with_side_effects_are_not_cached(spec: dict) -> None:
    cached = {
        task: declared["cachingOptions"].get("enableCache", False)
        for _, task, declared in tasks(spec)
        if "cachingOptions" in declared
    }
    names = ("ingest", "preprocess", "train", "evaluate", "gate", "register", "deploy", "refuse", "summary")
    assert {name: cached[name] for name in names} == {
        "ingest": False,
        "preprocess": True,
        "train": True,
        "evaluate": False,
        "gate": True,
        "register": False,
        "deploy": False,
        "refuse": True,
        "summary": False,
    }


def test_train_requests_the_gpus_of_the_parameters(spec: dict, on_kubernetes: dict) -> None:
    executors = spec["deploymentSpec"]["executors"]
    assert executors["exec-train"]["container"]["resources"]["accelerator"] == {
        "resourceCount": "{{$.inputs.parameters['pipelinechannel--gpus']}}",
        "resourceType": "{{$.inputs.parameters['pipelinechannel--accelerator']}}",
    }
    assert all("accelerator" not in executors[name]["container"]["resources"] for name in executors if name != "exec-train")
    train = on_kubernetes["exec-train"]
    assert train["nodeSelector"] == {"nodeSelectorJson": {"componentInputParameter": "pipelinechannel--node_selector"}}
    assert train["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"tolerationJson": {"componentInputParameter": "pipelinechannel--tolerations"}},
    ]
    assert train["emptyDirMounts"] == [
        {"volumeName": "shm", "mountPath": "/dev/shm", "medium": "Memory", "sizeLimit": "2Gi"},
    ]
    assert "pvcMount" not in train
    defaults = spec["root"]["inputDefinitions"]["parameters"]
    placing = {name: defaults[name]["defaultValue"] for name in ("gpus", "accelerator", "node_selector", "tolerations")}
    assert placing == {"gpus": 1, "accelerator": "nvidia.com/gpu", "node_selector": {}, "tolerations": []}


def test_every_parameter_that_a_task_refers_to_is_an_input_of_its_dag(spec: dict, on_kubernetes: dict) -> None:
    for dag, task, declared in tasks(spec):
        component = spec["root"] if dag == "root" else spec["components"][dag]
        has = set(component["inputDefinitions"]["parameters"])
        referred = {
            value["componentInputParameter"]
            for value in declared.get("inputs", {}).get("parameters", {}).values()
            if "componentInputParameter" in value
        }
        if task == "train":
            referred |= {"pipelinechannel--node_selector", "pipelinechannel--tolerations"}
        assert referred <= has, (dag, task)


@pytest.mark.parametrize(
    ("step", "cpu", "memory", "minutes", "retries", "secrets"),
    [
        ("ingest", ("1", "4"), ("512Mi", "4Gi"), 240, 2, STORE),
        ("preprocess", ("1", "2"), ("512Mi", "4Gi"), 60, 2, {}),
        ("train", ("2", "8"), ("4Gi", "16Gi"), 1440, 3, {}),
        ("evaluate", ("1", "4"), ("1Gi", "8Gi"), 120, 2, STORE | MLFLOW),
        ("gate", ("100m", "1"), ("256Mi", "1Gi"), 10, 2, {}),
        ("register", ("500m", "2"), ("1Gi", "4Gi"), 60, 2, STORE | MLFLOW | SIGNING),
        ("deploy", ("100m", "1"), ("256Mi", "1Gi"), 60, 1, STORE | TRUSTED),
        ("refuse", ("100m", "1"), ("256Mi", "1Gi"), 10, 2, {}),
        ("summary", ("100m", "1"), ("256Mi", "1Gi"), 10, 2, {}),
    ],
)
def test_each_step_requests_its_resources(
    spec: dict,
    on_kubernetes: dict,
    step: str,
    cpu: tuple[str, str],
    memory: tuple[str, str],
    minutes: int,
    retries: int,
    secrets: dict[str, list[str]],
) -> None:
    resources = spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]["resources"]
    assert (resources["resourceCpuRequest"], resources["resourceCpuLimit"]) == cpu
    assert (resources["resourceMemoryRequest"], resources["resourceMemoryLimit"]) == memory
    settings = on_kubernetes[f"exec-{step}"]
    assert settings["activeDeadlineSeconds"] == str(minutes * 60)
    assert settings["imagePullPolicy"] == "IfNotPresent"
    (policy,) = [declared["retryPolicy"] for _, task, declared in tasks(spec) if task == step]
    waiting = {"backoffDuration": "30s", "backoffFactor": 2.0, "backoffMaxDuration": "600s"}
    assert policy == {"maxRetryCount": retries} | waiting
    from_secrets = settings.get("secretAsEnv", [])
    assert all(secret["optional"] for secret in from_secrets)
    assert {secret["secretName"]: [key["envVar"] for key in secret["keyToEnv"]] for secret in from_secrets} == secrets
    assert all(key["secretKey"] == key["envVar"] for secret in from_secrets for key in secret["keyToEnv"])


def test_exit_handler_runs_last(spec: dict) -> None:
    assert spec["root"]["dag"]["tasks"]["summary"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_committed_manifest_equals_the_compiled_code_and_contains_the_same_pipeline(tmp_path: Path, spec: dict) -> None:
    assert compile_manifest(tmp_path / "manifest.yaml").read_text() == MANIFEST.read_text(), "run `make compile` and commit"
    pipeline, version = yaml.safe_load_all(MANIFEST.read_text())
    assert (pipeline["kind"], pipeline["metadata"]["name"]) == ("Pipeline", "brain-tumor")
    assert (version["kind"], version["spec"]["pipelineName"]) == ("PipelineVersion", "brain-tumor")
    assert version["metadata"]["name"] == version["spec"]["displayName"] == version_name(COMPILED)
    assert [version["spec"]["pipelineSpec"], version["spec"]["platformSpec"]] == list(yaml.safe_load_all(COMPILED.read_text()))
    assert len(json.dumps(version)) < 256 * 1024, "kubectl apply keeps a copy in an annotation, which has no more room"


def test_manifest_satisfies_the_schemas_of_its_kinds() -> None:
    require_crds()
    for document in yaml.safe_load_all(MANIFEST.read_text()):
        assert crd_errors(document) == [], document["kind"]


def test_steps_run_in_our_container_image_and_install_nothing(spec: dict) -> None:
    for executor in spec["deploymentSpec"]["executors"].values():
        assert executor["container"]["image"] == COMPONENTS_IMAGE
        assert "pip install" not in str(executor["container"])
