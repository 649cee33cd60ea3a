"""Submitting to a fake Kubeflow Pipelines server over real sockets."""

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
from tests.pipelines.fake_kubeflow import TOKEN, FakeKubeflow, serving
from tests.serving.processes import free_ports

MACHINE_SETTINGS = ("MLFLOW_", "KF_PIPELINES_", "KUBERNETES_", "CHECKPOINT_PVC", "COMPONENTS_IMAGE")
GOOD = {"source": "s3://scans/set.zip", "model_store": "s3://models", "tracking_uri": "http://mlflow:5000"}
SETTINGS = [part for name, value in GOOD.items() for part in ("--set", f"{name}={value}")]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(MACHINE_SETTINGS)}


@pytest.fixture
def kubeflow() -> Iterator[FakeKubeflow]:
    with serving() as server:
        yield server


def submit_by_process(host: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m pipelines.submit`, for settings that are read at import, and to see all of its output."""
    command = [sys.executable, "-m", "pipelines.submit", "--host", host, *SETTINGS, *options]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=120)


class Outcome(NamedTuple):
    """The exit status and output of a submission."""

    returncode: int
    stdout: str
    stderr: str


Submit = Callable[..., Outcome]


@pytest.fixture
def submit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Submit:
    """Return a function that runs the command in this process, without this machine's settings."""

    def call(*options: str, settings: list[str] = SETTINGS, **environment: str) -> Outcome:
        for name in set(os.environ) - set(ENVIRONMENT):
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        status, message = 0, ""
        try:
            status = main([*settings, *options])
        except SystemExit as end:
            status, message = (1, f"{end.code}\n") if isinstance(end.code, str) else (int(end.code or 0), "")
        output = capsys.readouterr()
        return Outcome(status, output.out, output.err + message)

    return call


def test_successful_run_is_sent_the_given_arguments(kubeflow: FakeKubeflow) -> None:
    kubeflow.run_responses = [
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
        kubeflow.url, "--set", "epochs=5", "--set", 'node_selector={"gpu": "a100"}', KF_PIPELINES_TOKEN=TOKEN
    )
    assert done.returncode == 0, done.stderr
    (run,) = kubeflow.bodies("POST", "/runs")
    assert run["runtime_config"]["parameters"] == GOOD | {
        "hyperparameters": {"epochs": 5},
        "node_selector": {"gpu": "a100"},
    }
    assert run["pipeline_version_reference"] == {"pipeline_id": "pipeline-1", "pipeline_version_id": "pipeline_version-1"}
    assert run["experiment_id"] == "experiment-1"
    assert "service_account" not in run
    assert kubeflow.bodies("POST", "/experiments") == [{"display_name": "brain-tumor", "namespace": ""}]
    assert kubeflow.bodies("POST", "/pipelines") == [{"display_name": "brain-tumor"}]
    (package,) = kubeflow.bodies("POST", "/pipelines/upload_version")
    assert package == COMPILED.read_text()
    version = version_name(COMPILED)
    assert [query["name"] for _, path, query, _ in kubeflow.requests if path == "/pipelines/upload_version"] == [version]
    assert done.stdout.splitlines() == [
        f"submit: {version} runs as {run['display_name']}: {kubeflow.url}/#/runs/details/run-1",
        "submit: ingest succeeded",
        "submit: register succeeded",
        "submit: the run succeeded: the model is registered",
    ]
    assert done.stderr == ""


def test_same_pipeline_is_uploaded_once_and_another_is_a_new_version(submit: Submit, kubeflow: FakeKubeflow) -> None:
    assert submit("--host", kubeflow.url, "--no-wait").returncode == 0
    assert submit("--host", kubeflow.url, "--no-wait").returncode == 0
    assert submit_by_process(kubeflow.url, "--no-wait", COMPONENTS_IMAGE="a:2").returncode == 0
    packages = kubeflow.bodies("POST", "/pipelines/upload_version")
    images = [next(yaml.safe_load_all(p))["deploymentSpec"]["executors"]["exec-train"]["container"]["image"] for p in packages]
    assert images == [COMPONENTS_IMAGE, "a:2"]
    runs = kubeflow.bodies("POST", "/runs")
    versions = [run["pipeline_version_reference"]["pipeline_version_id"] for run in runs]
    assert versions == ["pipeline_version-1", "pipeline_version-1", "pipeline_version-2"]
    assert len(kubeflow.bodies("POST", "/pipelines")) == 1
    assert kubeflow.bodies("GET", "/runs/run-1") == []


def test_failed_run_exits_with_1_and_prints_url_tasks_and_messages(submit: Submit, kubeflow: FakeKubeflow) -> None:
    error = {"code": 2, "message": "OOMKilled:\nexit code 137"}
    tasks = [
        {"display_name": "root", "state": "FAILED"},
        {"display_name": "train", "state": "FAILED", "error": error},
        {"display_name": "train", "state": "FAILED", "state_history": [{"state": "FAILED", "error": error}]},
        {"display_name": "summary", "state": "SUCCEEDED"},
    ]
    kubeflow.run_responses = [{"state": "FAILED", "run_details": {"task_details": tasks}}]
    failed = submit("--host", kubeflow.url)
    assert failed.returncode == 1
    assert failed.stderr.splitlines() == [
        f"the run failed: {kubeflow.url}/#/runs/details/run-1",
        "  train: OOMKilled: exit code 137",
    ]


def test_cancelled_run_ends_the_wait(submit: Submit, kubeflow: FakeKubeflow) -> None:
    kubeflow.run_responses = [{"state": "CANCELED", "error": {"message": "terminated by a person"}}]
    cancelled = submit("--host", kubeflow.url)
    assert cancelled.returncode == 1
    assert cancelled.stderr.splitlines()[1:] == ["  terminated by a person"]


def test_timeout_ends_the_wait_and_not_the_run(submit: Submit, kubeflow: FakeKubeflow) -> None:
    kubeflow.run_responses = [{"state": "RUNNING"}]
    late = submit("--host", kubeflow.url, "--timeout", "0.01", KF_PIPELINES_UI_ENDPOINT="https://kubeflow.example.com/pipeline")
    assert late.returncode == 1
    url = "https://kubeflow.example.com/pipeline/#/runs/details/run-1"
    assert late.stderr == f"the run has not ended after 0.01 minutes and continues: {url}\n"


def test_schedule_replaces_the_previous_one(submit: Submit, kubeflow: FakeKubeflow) -> None:
    first = submit("--host", kubeflow.url, "--cron", "0 0 3 * * *", "--service-account", "trainer")
    second = submit("--host", kubeflow.url, "--cron", "0 30 4 * * 1", "--set", "epochs=9")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    old, new = kubeflow.bodies("POST", "/recurringruns")
    assert old["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert old["service_account"] == "trainer"
    assert old["runtime_config"]["parameters"] == GOOD
    assert new["trigger"] == {"cron_schedule": {"cron": "0 30 4 * * 1"}}
    assert new["runtime_config"]["parameters"] == GOOD | {"hyperparameters": {"epochs": 9}}
    assert (new["mode"], new["no_catchup"], new["max_concurrency"]) == ("ENABLE", True, 1)
    assert new["pipeline_version_reference"]["pipeline_version_id"] == "pipeline_version-1"
    (left,) = kubeflow.stored["/recurringruns"]
    assert left["trigger"] == new["trigger"]
    assert kubeflow.bodies("POST", "/runs") == []
    assert ", replaces 1 schedule: " in second.stdout


def test_checkpoint_claim_is_mounted_and_its_folder_named_after_the_run(kubeflow: FakeKubeflow) -> None:
    assert submit_by_process(kubeflow.url, "--no-wait", CHECKPOINT_PVC="claim").returncode == 0
    (package,) = kubeflow.bodies("POST", "/pipelines/upload_version")
    _, platform = yaml.safe_load_all(package)
    (mount,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]["pvcMount"]
    assert (mount["constant"], mount["mountPath"]) == ("claim", "/checkpoints")
    (run,) = kubeflow.bodies("POST", "/runs")
    assert run["runtime_config"]["parameters"]["checkpoint_dir"] == f"/checkpoints/{run['display_name']}"


def test_namespace_is_sent_with_every_namespaced_object(submit: Submit, kubeflow: FakeKubeflow) -> None:
    kubeflow.multi_user = True
    without = submit("--host", kubeflow.url, "--no-wait")
    assert without.stderr == f"error: {kubeflow.url} is multi-user: name your namespace with --namespace\n"
    assert kubeflow.requests == []
    assert submit("--host", kubeflow.url, "--no-wait", "--namespace", "radiology").returncode == 0
    assert kubeflow.bodies("POST", "/experiments") == [{"display_name": "brain-tumor", "namespace": "radiology"}]
    assert kubeflow.bodies("POST", "/pipelines") == [{"display_name": "brain-tumor", "namespace": "radiology"}]
    listed = [
        query["namespace"] for method, path, query, _ in kubeflow.requests if path in ("/experiments", "/pipelines") and query
    ]
    assert set(listed) == {"radiology"}


def test_token_of_a_file_is_sent(submit: Submit, kubeflow: FakeKubeflow, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert submit("--host", kubeflow.url, "--no-wait", "--token-file", str(tmp_path / "token")).returncode == 0
    (tmp_path / "token").write_text("old")
    rejected = submit("--host", kubeflow.url, "--no-wait", KF_PIPELINES_SA_TOKEN_PATH=str(tmp_path / "token"))
    assert rejected.returncode == 1
    assert rejected.stderr.startswith(f"error: {kubeflow.url}: got status 401, the token was rejected: ")


def test_rejected_token_is_one_line_without_the_token(submit: Submit, kubeflow: FakeKubeflow) -> None:
    rejected = submit("--host", kubeflow.url, KF_PIPELINES_TOKEN="wrong-one")
    assert rejected.returncode == 1
    assert rejected.stderr.count("\n") == 1
    assert rejected.stderr.startswith(f"error: {kubeflow.url}: got status 401, the token was rejected: ")
    assert "wrong-one" not in rejected.stdout + rejected.stderr
    assert kubeflow.requests == []


@pytest.mark.parametrize(
    ("path", "status", "message", "reason"),
    [
        ("/runs", 403, "User is not authorized", "403, the token lacks the permission: User is not authorized"),
        ("/pipelines/upload_version", 400, "Invalid spec", "400, the request failed: Invalid spec"),
    ],
)
def test_rejection_by_the_service_is_printed_with_its_message(
    submit: Submit, kubeflow: FakeKubeflow, path: str, status: int, message: str, reason: str
) -> None:
    kubeflow.rejections = {path: (status, message)}
    rejected = submit("--host", kubeflow.url)
    assert rejected.returncode == 1
    assert rejected.stderr == f"error: {kubeflow.url}: got status {reason}\n"


def test_unreachable_host_is_one_line(submit: Submit) -> None:
    host = f"http://127.0.0.1:{free_ports(1)[0]}"
    unreachable = submit("--host", host)
    assert unreachable.returncode == 1
    assert unreachable.stderr.startswith(f"error: {host}: no response: ")
    assert "Connection refused" in unreachable.stderr
    assert unreachable.stderr.count("\n") == 1


def test_login_page_is_rejected(submit: Submit, kubeflow: FakeKubeflow) -> None:
    kubeflow.login_page = True
    login = submit("--host", kubeflow.url)
    assert login.returncode == 1
    assert login.stderr.startswith(f"error: {kubeflow.url}: got a web page, expected Kubeflow Pipelines' API")


def test_missing_experiment_is_not_created(submit: Submit, kubeflow: FakeKubeflow) -> None:
    missing = submit("--host", kubeflow.url, "--experiment", "brain-tumour")
    assert missing.returncode == 1
    assert missing.stderr == f"error: {kubeflow.url} has no experiment 'brain-tumour': create it there first\n"
    assert {method for method, *_ in kubeflow.requests} == {"GET"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "source=scans/set.zip"], "error: source: got scans/set.zip, on this machine only, expected a URI"),
        (["--set", "source=file:///scans/set.zip"], "error: source: got file:///scans/set.zip, on this machine only"),
        (
            ["--set", "model_store=runs/models"],
            "error: model_store: got runs/models, on this machine only, expected s3:// or gs://",
        ),
        (["--set", "model_store=https://host/m"], "error: model_store: got https://host/m, expected s3:// or gs://"),
        (
            ["--set", "tracking_uri="],
            "error: tracking_uri: got none, expected the URL of an MLflow server: set MLFLOW_TRACKING_URI or --set tracking_uri",
        ),
        (["--set", "tracking_uri=sqlite:////data/m.db"], "error: tracking_uri: got sqlite:////data/m.db, on this machine only"),
        (
            ["--set", "tracking_uri=http://me:word@localhost:5000"],
            "error: tracking_uri: got http://localhost:5000, on this machine",
        ),
        (
            ["--set", "tracking_uri=https://me:word@mlflow"],
            "error: tracking_uri: got a password, which Kubeflow would show",
        ),
        *(
            (["--set", f"{name}={value}"], f"error: {name}: got {{{{$, where Kubeflow Pipelines inserts a value")
            for name, value in (
                ("source", "s3://scans/{{$.inputs.parameters['seed']}}"),
                ("checkpoint_dir", "{{$}}"),
                ("ignore_folders", "pred,a{{$b"),
                ("node_selector", '{"a": "{{$.x}}"}'),
                ("tolerations", '[{"{{$": "x"}]'),
            )
        ),
        (["--set", "epoch=3"], "error: --set: got unknown name 'epoch' (did you mean epochs?), expected one of "),
        (["--set", "epochs=0"], "error: epochs: got 0, expected greater than or equal to 1"),
        (["--set", 'hyperparameters={"zoom": 2}'], "error: zoom: got 2, expected less than 1"),
        (["--set", "tolerations={}"], "error: tolerations: got '{}', expected a JSON list"),
        (["--cron", "0 3 * * *"], "got '0 3 * * *' with 5 fields, expected 6, seconds first, such as '0 0 3 * * *'"),
        (["--token-file", "/nonexistent/token"], "error: --token-file: no such file: /nonexistent/token"),
    ],
)
def test_invalid_input_is_rejected_before_anything_is_sent(
    submit: Submit, kubeflow: FakeKubeflow, options: list[str], message: str
) -> None:
    rejected = submit("--host", kubeflow.url, *options)
    assert rejected.returncode in (1, 2)
    assert message in rejected.stderr
    assert "Traceback" not in rejected.stderr
    assert kubeflow.requests == []


def test_host_and_registry_default_to_the_environment(submit: Submit, kubeflow: FakeKubeflow) -> None:
    settings = ["--source", "gs://scans", "--set", "model_store=gs://models"]
    environment = {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "KF_PIPELINES_ENDPOINT": kubeflow.url}
    assert submit("--no-wait", settings=settings, **environment).returncode == 0
    (run,) = kubeflow.bodies("POST", "/runs")
    sent = {"source": "gs://scans", "model_store": "gs://models", "tracking_uri": "http://mlflow:5000"}
    assert run["runtime_config"]["parameters"] == sent


def test_no_host_is_one_line(submit: Submit) -> None:
    assert submit().stderr.startswith(
        "error: host: got none: give --host http://... or set KF_PIPELINES_ENDPOINT (kubectl port-forward"
    )
