import dataclasses
import inspect
import itertools
from pathlib import Path

import pytest
import yaml

from components.train.component import train
from components.train.config import TrainConfig
from pipelines.compile import COMPILED, compile_pipeline
from pipelines.pipeline import brain_tumor


@pytest.fixture(scope="module")
def spec() -> dict:
    return next(yaml.safe_load_all(COMPILED.read_text()))


def test_committed_pipeline_is_what_the_code_compiles_to(tmp_path: Path) -> None:
    compiled = compile_pipeline(tmp_path / "pipeline.yaml")
    assert compiled.read_text() == COMPILED.read_text(), "run `make compile` and commit pipelines/brain_tumor.yaml"
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.yaml"]


def test_every_hyper_parameter_is_a_parameter_of_the_pipeline_with_the_same_default() -> None:
    declared = brain_tumor.component_spec.inputs
    of_step = inspect.signature(train.python_func).parameters
    for field in dataclasses.fields(TrainConfig):
        assert declared[field.name].default == field.default, field.name
        assert of_step[field.name].annotation is type(field.default), field.name


def test_steps_run_one_after_the_other(spec: dict) -> None:
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    order = ["ingest", "preprocess", "train", "evaluate", "gate"]
    for earlier, later in itertools.pairwise(order):
        assert earlier in tasks[later]["dependentTasks"]
    branches = next(task for name, task in tasks.items() if "condition-branches" in name)
    assert branches["dependentTasks"] == ["evaluate", "gate", "train"]


def test_what_acts_on_the_world_is_never_answered_from_a_cache(spec: dict) -> None:
    found = {}
    for name, component in [*spec["components"].items(), ("root", spec["root"])]:
        for task, declared in component.get("dag", {}).get("tasks", {}).items():
            found[task] = declared["cachingOptions"].get("enableCache", False) if "cachingOptions" in declared else name
    assert found["ingest"] is False
    assert found["register"] is False
    assert found["deploy"] is False
    assert found["summary"] is False
    assert found["train"] is True


def test_train_asks_for_a_gpu_and_the_exit_handler_runs_last(spec: dict) -> None:
    executors = spec["deploymentSpec"]["executors"]
    assert executors["exec-train"]["container"]["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert all("resources" not in executors[name]["container"] for name in executors if name != "exec-train")
    assert spec["root"]["dag"]["tasks"]["summary"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_steps_run_in_our_image_and_install_nothing(spec: dict) -> None:
    for executor in spec["deploymentSpec"]["executors"].values():
        assert executor["container"]["image"] == "brain-tumor/components:0.1.0"
        assert "pip install" not in str(executor["container"])
