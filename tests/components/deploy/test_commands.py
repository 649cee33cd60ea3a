"""The commands on the command line, and the pipeline step."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brain_tumor.errors import InputError
from components.deploy.__main__ import champion
from components.deploy.component import deploy as component
from components.deploy.deploy import deploy
from components.deploy.kubernetes_api import InferenceServiceClient
from components.deploy.rollout import serving_uri
from components.registry import connect
from tests.components.deploy.api_server import ApiServer
from tests.components.deploy.test_deploy import V1, V2
from tests.conftest import ROOT
from tests.serving.processes import free_ports


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "components.deploy", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


def not_verified(version: int) -> str:
    return f"; the signature of version {version} was not verified: MODEL_TRUSTED_KEYS names no trusted key"


def test_each_command_prints_the_served_versions(server: ApiServer, kubeconfig: Path) -> None:
    outputs = []
    for arguments in (
        ("deploy", "--model-uri", V1),
        ("deploy", "--model-uri", V2, "--canary-percent", "30"),
        ("promote",),
        ("rollback",),
    ):
        done = command(*arguments, "--namespace", "clinic")
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append(done.stdout.splitlines())
    assert [lines[-1] for lines in outputs] == [
        f"deploy: brain-tumor in namespace clinic serves version 1 at 100 %{not_verified(1)}",
        f"deploy: brain-tumor in namespace clinic serves version 1 at 70 %, version 2 at 30 %{not_verified(2)}",
        "promote: brain-tumor in namespace clinic serves version 2 at 100 %",
        "rollback: brain-tumor in namespace clinic serves version 1 at 100 %",
    ]
    assert outputs[1][:-1] == [
        "deploy: waiting for version 2 in namespace clinic",
        "deploy: version 2 passed the smoke test",
    ]
    assert server.settle() == [{"1": 100}, {"1": 70, "2": 30}, {"2": 100}, {"1": 100}]


def test_kserve_reads_the_named_version_from_the_serving_store(server: ApiServer, kubeconfig: Path) -> None:
    done = command("deploy", "--model-uri", V1, "--serving-store", "pvc://models/store", "--namespace", "clinic")
    assert (done.returncode, done.stderr) == (0, "")
    assert server.service()["spec"]["predictor"]["model"]["storageUri"] == "pvc://models/store/brain-tumor/1"


def test_error_is_one_line_and_exit_status_1(server: ApiServer, kubeconfig: Path) -> None:
    done = command("promote", "--namespace", "clinic")
    assert done.returncode == 1
    assert done.stderr == (
        "promote: error: nothing is served in namespace clinic: no InferenceService brain-tumor with a model\n"
    )


def test_unreachable_api_server_is_one_line_too(server: ApiServer, kubeconfig: Path) -> None:
    (port,) = free_ports(1)
    kubeconfig.write_text(kubeconfig.read_text().replace(server.host, f"http://127.0.0.1:{port}"))
    done = command("promote", "--namespace", "clinic")
    assert done.returncode == 1
    assert done.stderr == f"promote: error: the API server at http://127.0.0.1:{port} is unreachable: MaxRetryError\n"


def test_force_takes_fields_over(server: ApiServer, kubeconfig: Path, client: InferenceServiceClient) -> None:
    deploy(client, V1, canary_percent=10)
    head = {key: server.service()[key] for key in ("apiVersion", "kind")} | {"metadata": {"name": "brain-tumor"}}
    model = {"storageUri": f"{V1}/", "env": [{"name": "MODEL_VERSION", "value": "1"}]}
    server.apply(head | {"spec": {"predictor": {"model": model}}}, "kubectl")
    done = command("deploy", "--model-uri", V2, "--canary-percent", "100", "--namespace", "clinic")
    assert done.returncode == 1
    assert "`kubectl` owns .spec.predictor.model.storageUri" in done.stderr
    assert command("promote", "--force", "--namespace", "clinic").returncode == 0
    assert server.settle()[-1] == {"2": 100}


def test_champion_of_the_registry_is_deployed_by_default(
    empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_registry, tmp_path)
    with pytest.raises(InputError, match=r"there is no champion: no model has passed the gate yet; give --model-uri"):
        champion(tmp_path)
    client = connect(f"sqlite:///{tmp_path}/mlflow.db")
    client.create_registered_model("brain-tumor")
    client.create_model_version("brain-tumor", source=V1)
    client.set_registered_model_alias("brain-tumor", "champion", "1")
    registered = champion(tmp_path)
    assert serving_uri(vars(registered), "") == V1
    assert serving_uri(vars(registered), "pvc://claim") == "pvc://claim/brain-tumor/1"
    assert (
        serving_uri(vars(registered), "oci+native://registry.example:5000/model") == "oci+native://registry.example:5000/model:1"
    )


def registered(folder: Path, uri: str) -> Any:
    from kfp import dsl

    path = folder / "registered"
    path.write_text(json.dumps({"name": "brain-tumor", "version": int(uri.rpartition("/")[2]), "uri": uri}))
    return dsl.Artifact(uri=str(path))


def test_step_deploys_the_registered_version(
    server: ApiServer, kubeconfig: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    component.python_func(
        registered(tmp_path, "/mnt/store/brain-tumor/1"),
        namespace="clinic",
        canary_percent=10,
        deployment_mode="Knative",
        serving_store="pvc://models/store",
        allow_unsigned=False,
        serving_image="registry/serving:1",
    )
    line = f"deploy: brain-tumor in namespace clinic serves version 1 at 100 %{not_verified(1)}"
    assert capsys.readouterr().out.splitlines()[-1] == line
    assert server.service()["spec"]["predictor"]["model"]["storageUri"] == "pvc://models/store/brain-tumor/1"
    with pytest.raises(SystemExit, match=r"deploy: error: model URI: got /mnt/store/brain-tumor/1, expected s3://"):
        component.python_func(
            registered(tmp_path, "/mnt/store/brain-tumor/1"),
            namespace="clinic",
            canary_percent=10,
            deployment_mode="Standard",
            serving_store="",
            allow_unsigned=False,
            serving_image="registry/serving:1",
        )


def test_step_without_a_namespace_deploys_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    component.python_func(
        registered(tmp_path, V1),
        namespace="",
        canary_percent=10,
        deployment_mode="Standard",
        serving_store="",
        allow_unsigned=False,
        serving_image="registry/serving:1",
    )
    assert capsys.readouterr().out == "deploy: no namespace is given, nothing is deployed\n"


def test_step_starts_fast_and_without_tensorflow() -> None:
    """The step's own imports take less CPU time than kfp's; TensorFlow's would take three times kfp's."""
    code = """
import sys, time
import kfp.dsl
kfp_seconds = time.process_time()
import components.deploy.component, components.deploy.deploy
print("tensorflow" in sys.modules, time.process_time() < 2 * kfp_seconds)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]
