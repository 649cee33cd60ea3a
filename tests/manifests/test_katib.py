"""Katib's experiment and the command line of a training agree."""

import re
from pathlib import Path

from optuna.distributions import FloatDistribution

from components.architectures import DEFAULT, read_config
from components.architectures.evidence import CACHE_LIMIT_BYTES, EvidenceConfig
from components.train.__main__ import parse_flags
from pipelines.tuning.search import SEARCH_SPACES, warm_up_steps
from tests.conftest import VERSION
from tests.crds import crd_errors, require_crds
from tests.manifests.render import experiment, trial_pod

OTHER_FLAGS = {"--architecture", "--cross-validate", "--shards", "--metrics-file"}


def test_experiment_satisfies_its_schema() -> None:
    require_crds()
    assert crd_errors(experiment()) == []


def test_every_parameter_reaches_the_command_as_a_flag_of_its_field() -> None:
    spec = experiment()["spec"]
    parameters = {each["name"]: each for each in spec["parameters"]}
    assert set(parameters) == {"learning_rate", "weight_decay", "label_smoothing", "sharpness"}
    assert set(parameters) <= set(EvidenceConfig.model_fields)
    references = {each["name"]: each["reference"] for each in spec["trialTemplate"]["trialParameters"]}
    (container,) = trial_pod()["containers"]
    assert container["command"][:3] == ["python3", "-m", "components.train"]
    flags = {flag: value for flag, _, value in (each.partition("=") for each in container["command"][3:])}
    assert flags["--architecture"] == DEFAULT == "evidence"
    substituted = {flag: value for flag, value in flags.items() if "${" in value}
    assert set(flags) - set(substituted) == OTHER_FLAGS
    flagged = {}
    for flag, value in substituted.items():
        found = re.fullmatch(r"\$\{trialParameters\.(\w+)\}", value)
        assert found, value
        flagged[flag.removeprefix("--").replace("-", "_")] = references[found[1]]
    assert flagged == {name: name for name in parameters}
    parsed = parse_flags(container["command"][3:])  # exits on an unknown flag
    assert (parsed.shards, parsed.metrics_file) == (Path("/shards"), Path("/tmp/metrics/metrics.txt"))
    assert parsed.cross_validate is True
    assert all(getattr(parsed, name) == substituted[f"--{name.replace('_', '-')}"] for name in parameters)


def test_every_value_of_the_search_space_is_valid_and_searched_by_make_tune_too() -> None:
    space = dict(SEARCH_SPACES[DEFAULT])
    for parameter in experiment()["spec"]["parameters"]:
        name, feasible = parameter["name"], parameter["feasibleSpace"]
        assert parameter["parameterType"] == "double"
        assert isinstance(getattr(EvidenceConfig(), name), float)
        assert all(isinstance(value, str) for value in feasible.values()), "Katib reads numbers as text"
        low, high = float(feasible["min"]), float(feasible["max"])
        assert low < getattr(EvidenceConfig(), name) < high
        for value in (low, high):
            assert getattr(read_config({name: value}), name) == value
        assert space.pop(name) == FloatDistribution(low, high, log=feasible.get("distribution") == "logUniform")
    assert space == {}


def test_metric_is_read_from_the_metrics_file_of_the_training() -> None:
    spec = experiment()["spec"]
    assert spec["objective"]["objectiveMetricName"] == "val_auc"
    assert spec["objective"]["type"] == "maximize"
    reported = [spec["objective"]["objectiveMetricName"], *spec["objective"]["additionalMetricNames"]]
    assert spec["objective"]["metricStrategies"] == [{"name": name, "value": "latest"} for name in reported]
    source = spec["metricsCollectorSpec"]["source"]["fileSystemPath"]
    assert spec["metricsCollectorSpec"]["collector"]["kind"] == "File"
    (container,) = trial_pod()["containers"]
    assert f"--metrics-file={source['path']}" in container["command"]
    assert spec["earlyStopping"]["algorithmName"] == "medianstop"
    settings = {each["name"]: each["value"] for each in spec["earlyStopping"]["algorithmSettings"]}
    assert settings == {"min_trials_required": "3", "start_step": str(warm_up_steps(EvidenceConfig()) + 1)}
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


def test_tmp_holds_the_cached_features() -> None:
    (container,) = trial_pod()["containers"]
    volumes = {volume["name"]: volume for volume in trial_pod()["volumes"]}
    (tmp,) = (mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/tmp")
    assert volumes[tmp]["emptyDir"] == {"sizeLimit": "5Gi"}
    assert container["resources"]["requests"]["ephemeral-storage"] == "5Gi"
    assert 1.25 * CACHE_LIMIT_BYTES < 5 * 2**30
