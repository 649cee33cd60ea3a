"""Katib's experiment and the command line of a training agree."""

import re

from components.architectures.cnn import CnnConfig
from components.train.__main__ import parse_flags
from tests.conftest import VERSION
from tests.crds import crd_errors, require_crds
from tests.manifests.render import experiment, trial_pod

OTHER_FLAGS = {"--shards", "--metrics-file"}


def test_experiment_satisfies_its_schema() -> None:
    require_crds()
    assert crd_errors(experiment()) == []


def test_every_parameter_reaches_the_command_as_a_flag_of_its_field() -> None:
    spec = experiment()["spec"]
    parameters = {each["name"]: each for each in spec["parameters"]}
    assert set(parameters) == {"learning_rate", "l2", "dropout", "filters", "dense_units"}
    assert set(parameters) <= set(CnnConfig.model_fields)
    references = {each["name"]: each["reference"] for each in spec["trialTemplate"]["trialParameters"]}
    (container,) = trial_pod()["containers"]
    assert container["command"][:3] == ["python3", "-m", "components.train"]
    flags = dict(each.split("=", 1) for each in container["command"][3:])
    substituted = {flag: value for flag, value in flags.items() if "${" in value}
    assert set(flags) - set(substituted) == OTHER_FLAGS
    flagged = {}
    for flag, value in substituted.items():
        found = re.fullmatch(r"\$\{trialParameters\.(\w+)\}", value)
        assert found, value
        flagged[flag.removeprefix("--").replace("-", "_")] = references[found[1]]
    assert flagged == {name: name for name in parameters}
    parsed = parse_flags(container["command"][3:])  # exits on an unknown flag
    assert all(getattr(parsed, name) == substituted[f"--{name.replace('_', '-')}"] for name in parameters)


def test_every_value_of_the_search_space_is_valid() -> None:
    kinds = {"double": float, "int": int, "discrete": int}
    for parameter in experiment()["spec"]["parameters"]:
        space, kind = parameter["feasibleSpace"], kinds[parameter["parameterType"]]
        assert isinstance(getattr(CnnConfig(), parameter["name"]), kind)
        values = space.get("list") or [space["min"], space["max"]]
        assert all(isinstance(value, str) for value in values), "Katib reads numbers as text"
        for value in values:
            read_config({parameter["name"]: kind(value)})
        if "min" in space:
            assert float(space["min"]) < getattr(CnnConfig(), parameter["name"]) < float(space["max"])


def test_metric_is_read_from_the_metrics_file_of_the_training() -> None:
    spec = experiment()["spec"]
    assert spec["objective"]["objectiveMetricName"] == "val_auc"
    assert spec["objective"]["type"] == "maximize"
    source = spec["metricsCollectorSpec"]["source"]["fileSystemPath"]
    assert spec["metricsCollectorSpec"]["collector"]["kind"] == "File"
    (container,) = trial_pod()["containers"]
    assert f"--metrics-file={source['path']}" in container["command"]
    assert spec["earlyStopping"]["algorithmName"] == "medianstop"
    assert spec["trialTemplate"]["primaryContainerName"] == container["name"]


def test_trial_runs_our_container_image_on_one_gpu_with_the_shards_on_a_volume() -> None:
    pod = trial_pod()
    (container,) = pod["containers"]
    assert container["image"] == f"brain-tumor-components:{VERSION}-gpu"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert set(mounts) == {"/shards", "/tmp", "/dev/shm"}
    assert volumes[mounts["/shards"]["name"]]["persistentVolumeClaim"] == {"claimName": "brain-tumor-shards", "readOnly": True}
    assert pod["restartPolicy"] == "Never"
