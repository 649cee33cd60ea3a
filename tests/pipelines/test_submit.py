"""Submitting, as a process of its own, to a server that speaks Kubeflow Pipelines' API over real sockets."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from components import COMPONENTS_IMAGE
from pipelines.compile import COMPILED, version_name
from pipelines.submit import main
from tests.conftest import ROOT
from tests.pipelines.kubeflow_server import TOKEN, Kubeflow, serving
from tests.serving.processes import free_ports

NOT_INHERITED = ("MLFLOW_", "KF_PIPELINES_", "KUBERNETES_", "CHECKPOINT_PVC", "COMPONENTS_IMAGE")
GOOD = {"source": "s3://scans/set.zip", "model_store": "s3://models", "tracking_uri": "http://mlflow:5000"}
SETTINGS = [part for name, value in GOOD.items() for part in ("--set", f"{name}={value}")]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}


@pytest.fixture
def kubeflow() -> Iterator[Kubeflow]:
    with serving() as server:
        yield server


def submit_by_process(host: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m pipelines.submit`: for what is read when the pipeline is imported, and to see all of its output."""
    command = [sys.executable, "-m", "pipelines.submit", "--host", host, *SETTINGS, *options]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=120)


class Ended(NamedTuple):
    """How a submission ended."""

    returncode: int
    stdout: str
    stderr: str


Submit = Callable[..., Ended]


@pytest.fixture
def submit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Submit:
    """Call the command as a process would, in an environment with nothing of this machine's."""

    def call(*options: str, settings: list[str] = SETTINGS, **environment: str) -> Ended:
        for name in set(os.environ) - set(ENVIRONMENT):
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        status, message = 0, ""
        try:
            status = main([*settings, *options])
        except SystemExit as end:
            status, message = (1, f"{end.code}\n") if isinstance(end.code, str) else (int(end.code or 0), "")
        written = capsys.readouterr()
        return Ended(status, written.out, written.err + message)

    return call


def test_run_that_succeeds_was_sent_what_was_given(kubeflow: Kubeflow) -> None:
    kubeflow.answers = [
        {"state": "PENDING"},
        503,
        {"state": "RUNNING", "run_details": {"task_details": [{"display_name": "ingest", "state": "SUCCEEDED"}]}},
        {
            "state": "SUCCEEDED",
            "run_details": {
                "task_details": [
                    {"display_name": name, "state": "SUCCEEDED"} for name in ("root", "ingest", "ingest-driver", "register")
                ]
            },
        },
    ]
    done = submit_by_process(
        kubeflow.address, "--set", "epochs=5", "--set", 'node_selector={"gpu": "a100"}', KF_PIPELINES_TOKEN=TOKEN
    )
    assert done.returncode == 0, done.stderr
    (run,) = kubeflow.bodies("POST", "/runs")
    assert run["runtime_config"]["parameters"] == GOOD | {"epochs": 5, "node_selector": {"gpu": "a100"}}
    assert run["pipeline_version_reference"] == {"pipeline_id": "pipeline-1", "pipeline_version_id": "pipeline_version-1"}
    assert run["experiment_id"] == "experiment-1"
    assert "service_account" not in run
    assert kubeflow.bodies("POST", "/experiments") == [{"display_name": "brain-tumor", "namespace": ""}]
    assert kubeflow.bodies("POST", "/pipelines") == [{"display_name": "brain-tumor"}]
    (package,) = kubeflow.bodies("POST", "/pipelines/upload_version")
    assert package == COMPILED.read_text()
    version = version_name(COMPILED)
    assert [query["name"] for _, path, query, _ in kubeflow.sent if path == "/pipelines/upload_version"] == [version]
    assert done.stdout.splitlines() == [
        f"submit: {version} runs as {run['display_name']}: {kubeflow.address}/#/runs/details/run-1",
        "submit: ingest succeeded",
        "submit: register succeeded",
        "submit: the run succeeded: the model is registered",
    ]
    assert done.stderr == ""


def test_same_pipeline_is_uploaded_once_and_another_is_a_new_version(submit: Submit, kubeflow: Kubeflow) -> None:
    assert submit("--host", kubeflow.address, "--no-wait").returncode == 0
    assert submit("--host", kubeflow.address, "--no-wait").returncode == 0
    assert submit_by_process(kubeflow.address, "--no-wait", COMPONENTS_IMAGE="a:2").returncode == 0
    packages = kubeflow.bodies("POST", "/pipelines/upload_version")
    images = [next(yaml.safe_load_all(p))["deploymentSpec"]["executors"]["exec-train"]["container"]["image"] for p in packages]
    assert images == [COMPONENTS_IMAGE, "a:2"]
    runs = kubeflow.bodies("POST", "/runs")
    versions = [run["pipeline_version_reference"]["pipeline_version_id"] for run in runs]
    assert versions == ["pipeline_version-1", "pipeline_version-1", "pipeline_version-2"]
    assert len(kubeflow.bodies("POST", "/pipelines")) == 1
    assert kubeflow.bodies("GET", "/runs/run-1") == []


def test_run_that_fails_is_status_1_with_address_tasks_and_messages(submit: Submit, kubeflow: Kubeflow) -> None:
    error = {"code": 2, "message": "OOMKilled:\nexit code 137"}
    tasks = [
        {"display_name": "root", "state": "FAILED"},
        {"display_name": "train", "state": "FAILED", "error": error},
        {"display_name": "train", "state": "FAILED", "state_history": [{"state": "FAILED", "error": error}]},
        {"display_name": "summary", "state": "SUCCEEDED"},
    ]
    kubeflow.answers = [{"state": "FAILED", "run_details": {"task_details": tasks}}]
    failed = submit("--host", kubeflow.address)
    assert failed.returncode == 1
    assert failed.stderr.splitlines() == [
        f"the run failed: {kubeflow.address}/#/runs/details/run-1",
        "  train: OOMKilled: exit code 137",
    ]


def test_run_that_is_cancelled_ends_the_wait(submit: Submit, kubeflow: Kubeflow) -> None:
    kubeflow.answers = [{"state": "CANCELED", "error": {"message": "terminated by a person"}}]
    cancelled = submit("--host", kubeflow.address)
    assert cancelled.returncode == 1
    assert cancelled.stderr.splitlines()[1:] == ["  terminated by a person"]


def test_run_that_takes_too_long_goes_on(submit: Submit, kubeflow: Kubeflow) -> None:
    kubeflow.answers = [{"state": "RUNNING"}]
    late = submit(
        "--host", kubeflow.address, "--timeout", "0.01", KF_PIPELINES_UI_ENDPOINT="https://kubeflow.example.com/pipeline"
    )
    assert late.returncode == 1
    address = "https://kubeflow.example.com/pipeline/#/runs/details/run-1"
    assert late.stderr == f"the run has not ended after 0.01 minutes and goes on: {address}\n"


def test_schedule_takes_the_place_of_the_one_before(submit: Submit, kubeflow: Kubeflow) -> None:
    first = submit("--host", kubeflow.address, "--cron", "0 0 3 * * *", "--service-account", "trainer")
    second = submit("--host", kubeflow.address, "--cron", "0 30 4 * * 1", "--set", "epochs=9")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    old, new = kubeflow.bodies("POST", "/recurringruns")
    assert old["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert old["service_account"] == "trainer"
    assert old["runtime_config"]["parameters"] == GOOD
    assert new["trigger"] == {"cron_schedule": {"cron": "0 30 4 * * 1"}}
    assert new["runtime_config"]["parameters"] == GOOD | {"epochs": 9}
    assert (new["mode"], new["no_catchup"], new["max_concurrency"]) == ("ENABLE", True, 1)
    assert new["pipeline_version_reference"]["pipeline_version_id"] == "pipeline_version-1"
    (left,) = kubeflow.stored["/recurringruns"]
    assert left["trigger"] == new["trigger"]
    assert kubeflow.bodies("POST", "/runs") == []
    assert "in place of 1 before" in second.stdout


def test_claim_for_checkpoints_is_mounted_and_named_after_the_run(kubeflow: Kubeflow) -> None:
    assert submit_by_process(kubeflow.address, "--no-wait", CHECKPOINT_PVC="claim").returncode == 0
    (package,) = kubeflow.bodies("POST", "/pipelines/upload_version")
    _, platform = yaml.safe_load_all(package)
    (mount,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]["pvcMount"]
    assert (mount["constant"], mount["mountPath"]) == ("claim", "/checkpoints")
    (run,) = kubeflow.bodies("POST", "/runs")
    assert run["runtime_config"]["parameters"]["checkpoint_dir"] == f"/checkpoints/{run['display_name']}"


def test_namespace_is_sent_with_everything_that_has_one(submit: Submit, kubeflow: Kubeflow) -> None:
    kubeflow.multi_user = True
    without = submit("--host", kubeflow.address, "--no-wait")
    assert without.stderr == f"error: {kubeflow.address} has a namespace for every team: give yours with --namespace\n"
    assert kubeflow.sent == []
    assert submit("--host", kubeflow.address, "--no-wait", "--namespace", "radiology").returncode == 0
    assert kubeflow.bodies("POST", "/experiments") == [{"display_name": "brain-tumor", "namespace": "radiology"}]
    assert kubeflow.bodies("POST", "/pipelines") == [{"display_name": "brain-tumor", "namespace": "radiology"}]
    listed = [query["namespace"] for method, path, query, _ in kubeflow.sent if path in ("/experiments", "/pipelines") and query]
    assert set(listed) == {"radiology"}


def test_token_of_a_file_is_sent(submit: Submit, kubeflow: Kubeflow, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert submit("--host", kubeflow.address, "--no-wait", "--token-file", str(tmp_path / "token")).returncode == 0
    (tmp_path / "token").write_text("old")
    refused = submit("--host", kubeflow.address, "--no-wait", KF_PIPELINES_SA_TOKEN_PATH=str(tmp_path / "token"))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {kubeflow.address} answers 401, the token was refused: ")


def test_wrong_token_is_one_line_that_does_not_repeat_it(submit: Submit, kubeflow: Kubeflow) -> None:
    refused = submit("--host", kubeflow.address, KF_PIPELINES_TOKEN="wrong-one")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.startswith(f"error: {kubeflow.address} answers 401, the token was refused: ")
    assert "wrong-one" not in refused.stdout + refused.stderr
    assert kubeflow.sent == []


@pytest.mark.parametrize(
    ("path", "status", "message", "wanted"),
    [
        ("/runs", 403, "User is not authorized", "403, the token is not allowed to do this: User is not authorized"),
        ("/pipelines/upload_version", 400, "Invalid spec", "400, it failed: Invalid spec"),
    ],
)
def test_what_the_service_refuses_is_said_in_its_words(
    submit: Submit, kubeflow: Kubeflow, path: str, status: int, message: str, wanted: str
) -> None:
    kubeflow.refuses = {path: (status, message)}
    refused = submit("--host", kubeflow.address)
    assert refused.returncode == 1
    assert refused.stderr == f"error: {kubeflow.address} answers {wanted}\n"


def test_host_that_is_away_is_one_line(submit: Submit) -> None:
    host = f"http://127.0.0.1:{free_ports(1)[0]}"
    away = submit("--host", host)
    assert away.returncode == 1
    assert away.stderr.startswith(f"error: nothing answers at {host}: ")
    assert "Connection refused" in away.stderr
    assert away.stderr.count("\n") == 1


def test_page_to_log_in_is_no_api(submit: Submit, kubeflow: Kubeflow) -> None:
    kubeflow.page = True
    login = submit("--host", kubeflow.address)
    assert login.returncode == 1
    assert login.stderr.startswith(f"error: {kubeflow.address} answers with a page, not with Kubeflow Pipelines' API")


def test_experiment_that_is_not_there_is_not_made(submit: Submit, kubeflow: Kubeflow) -> None:
    missing = submit("--host", kubeflow.address, "--experiment", "brain-tumour")
    assert missing.returncode == 1
    assert missing.stderr == f"error: {kubeflow.address} has no experiment 'brain-tumour': make it there first\n"
    assert {method for method, *_ in kubeflow.sent} == {"GET"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "source=scans/set.zip"], "error: source is scans/set.zip, on this machine only: wanted an address"),
        (["--set", "source=file:///scans/set.zip"], "error: source is file:///scans/set.zip, on this machine only"),
        (["--set", "model_store=runs/models"], "error: model_store is runs/models, on this machine only: wanted s3:// or gs://"),
        (["--set", "model_store=https://host/m"], "error: model_store is https://host/m, wanted s3:// or gs://"),
        (
            ["--set", "tracking_uri="],
            "error: there is no MLflow to register in: set MLFLOW_TRACKING_URI or give --set tracking_uri",
        ),
        (["--set", "tracking_uri=sqlite:////data/m.db"], "error: tracking_uri is sqlite:////data/m.db, on this machine only"),
        (
            ["--set", "tracking_uri=http://me:word@localhost:5000"],
            "error: tracking_uri is http://localhost:5000, on this machine",
        ),
        (
            ["--set", "tracking_uri=https://me:word@mlflow"],
            "error: tracking_uri holds a password, which Kubeflow's page would show",
        ),
        (["--set", "epoch=3"], "error: no such parameter: epoch, wanted one of "),
        (["--set", "tolerations={}"], "error: tolerations is '{}', wanted a JSON list"),
        (["--cron", "0 3 * * *"], "has 5 fields, wanted 6, seconds first, as '0 0 3 * * *'"),
        (["--token-file", "/nonexistent/token"], "error: there is no token file /nonexistent/token"),
    ],
)
def test_what_no_cluster_can_use_is_refused_before_anything_is_sent(
    submit: Submit, kubeflow: Kubeflow, options: list[str], message: str
) -> None:
    refused = submit("--host", kubeflow.address, *options)
    assert refused.returncode in (1, 2)
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert kubeflow.sent == []


def test_host_and_registry_of_the_environment_are_taken(submit: Submit, kubeflow: Kubeflow) -> None:
    settings = ["--source", "gs://scans", "--set", "model_store=gs://models"]
    environment = {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "KF_PIPELINES_ENDPOINT": kubeflow.address}
    assert submit("--no-wait", settings=settings, **environment).returncode == 0
    (run,) = kubeflow.bodies("POST", "/runs")
    sent = {"source": "gs://scans", "model_store": "gs://models", "tracking_uri": "http://mlflow:5000"}
    assert run["runtime_config"]["parameters"] == sent


def test_no_host_is_one_line(submit: Submit) -> None:
    assert submit().stderr.startswith("error: no host: give --host http://... or set KF_PIPELINES_ENDPOINT (kubectl port-forward")
