"""A client of Kubeflow Pipelines for submitting. Every error of the service is an InputError of one line."""

import contextlib
import io
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kfp_server_api
import urllib3
from kfp.client import KF_PIPELINES_SA_TOKEN_PATH, Client
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

from brain_tumor.errors import InputError
from components.uris import redact_credentials

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
RESPONSE_TIMEOUT_SECONDS = 15
MAX_PAUSE_SECONDS = 10.0
MAX_POLL_FAILURES = 20
# kfp's own list lacks CANCELED, so its wait never ends on a cancelled run.
FINAL_STATES = {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"}
HINTS = {
    401: "the token was rejected: set KF_PIPELINES_TOKEN or --token-file to a valid one",
    403: "the token lacks the permission",
    404: "not found",
}


class KubeflowClient:
    """A client of one Kubeflow Pipelines service. Creating it checks that the service is healthy.

    Args:
        host: URL of the API, such as `https://kubeflow.example.com/pipeline`.
        namespace: Namespace of the profile on a multi-user service; empty takes the pod's own, in a cluster.
        token_file: Token of a service account, read again at every request; None takes KF_PIPELINES_TOKEN or the pod's own.

    Raises:
        InputError: No response, another service, a rejected token, or a multi-user service without a namespace.
    """

    def __init__(self, host: str, *, namespace: str = "", token_file: Path | None = None):
        self.host = host.rstrip("/")
        with self._as_input_error(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            # Without a namespace kfp queries the health itself, five times, and prints a traceback each time.
            self._client = Client(self.host, namespace=namespace or "unknown", **_authentication(token_file))
            multi_user = self._is_multi_user()
        if multi_user and not namespace:
            if not NAMESPACE_FILE.is_file():
                raise InputError(f"{self.host} is multi-user: name your namespace with --namespace")
            namespace = NAMESPACE_FILE.read_text().strip()
        self._namespace = namespace
        self._client._context_setting["namespace"] = namespace

    def get_experiment(self, name: str, *, create: bool) -> str:
        """Return the id of an experiment; with `create` a missing one is created.

        Raises:
            InputError: It does not exist, and `create` is false.
        """
        with self._as_input_error():
            found = self._client.list_experiments(filter=_name_filter(name), namespace=self._namespace).experiments
            if found:
                return found[0].experiment_id
            if not create:
                raise InputError(f"{self.host} has no experiment {name!r}: create it there first")
            return self._client.create_experiment(name, namespace=self._namespace).experiment_id

    def upload(self, package: Path, *, pipeline: str, version: str) -> tuple[str, str]:
        """Upload a compiled pipeline as a version, unless the version exists; return the ids of pipeline and version."""
        with self._as_input_error():
            pipelines = self._client.list_pipelines(filter=_name_filter(pipeline), namespace=self._namespace).pipelines
            if pipelines:
                pipeline_id = pipelines[0].pipeline_id
            else:
                new = kfp_server_api.V2beta1Pipeline(display_name=pipeline, namespace=self._namespace or None)
                pipeline_id = self._client.pipelines.pipeline_service_create_pipeline(pipeline=new).pipeline_id
            versions = self._client.list_pipeline_versions(pipeline_id, filter=_name_filter(version)).pipeline_versions
            uploaded = versions[0] if versions else self._client.upload_pipeline_version(str(package), version, pipeline_id)
            return pipeline_id, uploaded.pipeline_version_id

    def start(self, name: str, **settings: Any) -> str:
        """Start a run, see `kfp.Client.run_pipeline`, and return its id."""
        with self._as_input_error():
            return self._client.run_pipeline(job_name=name, **settings).run_id

    def schedule(self, name: str, cron: str, *, experiment_id: str, **settings: Any) -> tuple[str, int]:
        """Start runs on a schedule, which replaces the experiment's recurring runs of the same name.

        A run that is due while the previous one is running waits. Missed runs are not caught up.

        Returns:
            The id of the recurring run, and the number of recurring runs that it replaces.
        """
        with self._as_input_error():
            previous = self._client.list_recurring_runs(experiment_id=experiment_id, filter=_name_filter(name), page_size=100)
            created = self._client.create_recurring_run(
                experiment_id, name, cron_expression=cron, no_catchup=True, max_concurrency=1, **settings
            )
            for old in previous.recurring_runs or []:
                self._client.delete_recurring_run(old.recurring_run_id)
            return created.recurring_run_id, len(previous.recurring_runs or [])

    def wait(self, run_id: str, *, minutes: float | None, on_poll: Callable[[Any], None]) -> Any:
        """Wait for the end of a run and return it; each poll passes the run to `on_poll`.

        Raises:
            InputError: The service was unreachable for minutes, or rejected the request.
            TimeoutError: The run has not ended in time; it continues.
        """
        deadline = time.monotonic() + minutes * 60 if minutes else None
        pause, failed_polls = 0.5, 0
        while True:
            try:
                with self._as_input_error():
                    run = self._client.get_run(run_id)
                failed_polls = 0
                on_poll(run)
                if run.state in FINAL_STATES:
                    return run
            except InputError as error:  # the service, or a proxy before it, may only be restarting
                failed_polls += 1
                rejected = isinstance(error.__cause__, kfp_server_api.ApiException) and error.__cause__.status < 500
                if rejected or failed_polls > MAX_POLL_FAILURES:
                    raise
            if deadline and time.monotonic() + pause > deadline:
                raise TimeoutError(run_id)
            time.sleep(pause)
            pause = min(pause * 1.5, MAX_PAUSE_SECONDS)

    def ui_url(self, kind: str, identifier: str) -> str:
        """Return the URL of a run or schedule in the web interface; `kind` is `runs` or `recurringrun`."""
        return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT', self.host)}/#/{kind}/details/{identifier}"

    def _is_multi_user(self) -> bool:
        get_health = self._client._healthz_api.healthz_service_get_healthz_with_http_info
        health, _, headers = get_health(_request_timeout=RESPONSE_TIMEOUT_SECONDS)
        if "json" not in headers.get("Content-Type", ""):
            raise InputError(f"{self.host}: got a web page, expected Kubeflow Pipelines' API: set a token, or append /pipeline")
        return bool(health.multi_user)

    @contextlib.contextmanager
    def _as_input_error(self) -> Iterator[None]:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # kfp prints its own links
                yield
        except kfp_server_api.ApiException as error:
            hint = HINTS.get(error.status, "the request failed")
            raise InputError(f"{self.host}: got status {error.status}, {hint}{_reason(error)}") from error
        except urllib3.exceptions.HTTPError as error:
            cause = getattr(error, "reason", None) or error
            raise InputError(f"{self.host}: no response: {_one_line(str(cause).split(': ', 1)[-1])}") from error


def failures(run: Any) -> list[str]:
    """Return `task: message` for each failed task of a run, or else the message of the run."""
    details = (run.run_details and run.run_details.task_details) or []
    failed = [(task.display_name, _message(task)) for task in details if task.state == "FAILED"]
    # A failed task without a message only contains the one that failed.
    messages = [f"{name}: {message}" for name, message in failed if message] or [f"{name} failed" for name, _ in failed]
    return list(dict.fromkeys(messages)) or [_message(run) or f"the run is {run.state}, without a message"]


def _message(run_or_task: Any) -> str:
    errors = [run_or_task.error, *(status.error for status in reversed(run_or_task.state_history or []))]
    return next((_one_line(error.message) for error in errors if error and error.message), "")


def _reason(error: kfp_server_api.ApiException) -> str:
    try:
        body = json.loads(error.body)
        message = body.get("message") or body.get("error") or ""
    except (TypeError, ValueError, AttributeError):
        message = ""
    return f": {_one_line(str(message))}" if message else ""


def _one_line(text: str) -> str:
    return redact_credentials(" ".join(text.split()))[:500]


def _name_filter(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _authentication(token_file: Path | None) -> dict[str, Any]:
    if token_file is None and (token := os.environ.get("KF_PIPELINES_TOKEN")):
        return {"existing_token": token.strip()}
    path = token_file or Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", KF_PIPELINES_SA_TOKEN_PATH))
    if path.is_file():
        return {"credentials": ServiceAccountTokenVolumeCredentials(str(path))}
    if token_file:
        raise InputError(f"--token-file: no such file: {token_file}")
    return {}
