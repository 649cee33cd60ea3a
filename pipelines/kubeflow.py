"""A Kubeflow Pipelines service, as far as submitting needs it. What goes wrong there is an InputError of one line."""

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
# kfp's own list lacks CANCELED: its wait never ends on a run that was cancelled.
FINAL = {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"}
HINTS = {
    401: "the token was refused: KF_PIPELINES_TOKEN or --token-file has to hold one that is valid now",
    403: "the token is not allowed to do this",
    404: "there is no such thing",
}


class KubeflowClient:
    """A Kubeflow Pipelines service that was there when this was made.

    Args:
        host: where its API is, as `https://kubeflow.example.com/pipeline`.
        namespace: the profile's, where there are several; empty takes the pod's own, in a cluster.
        token_file: of a service account, read again at every request; None takes KF_PIPELINES_TOKEN or the pod's own, if any.

    Raises:
        InputError: nothing answers, it is no such service, it refuses the token, or it has namespaces and none was given.
    """

    def __init__(self, host: str, *, namespace: str = "", token_file: Path | None = None):
        self.host = host.rstrip("/")
        with self._as_input_error(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            # With a namespace of any name kfp does not ask for the service's health, five times, with a traceback each.
            self._client = Client(self.host, namespace=namespace or "unknown", **_authentication(token_file))
            multi_user = self._health()
        if multi_user and not namespace:
            if not NAMESPACE_FILE.is_file():
                raise InputError(f"{self.host} has a namespace for every team: give yours with --namespace")
            namespace = NAMESPACE_FILE.read_text().strip()
        self._namespace = namespace
        self._client._context_setting["namespace"] = namespace

    def experiment(self, name: str, *, create: bool) -> str:
        """Return an experiment's id.

        Raises:
            InputError: there is none of this name, and none was to be made.
        """
        with self._as_input_error():
            found = self._client.list_experiments(filter=_named(name), namespace=self._namespace).experiments
            if found:
                return found[0].experiment_id
            if not create:
                raise InputError(f"{self.host} has no experiment {name!r}: make it there first")
            return self._client.create_experiment(name, namespace=self._namespace).experiment_id

    def upload(self, package: Path, *, pipeline: str, version: str) -> tuple[str, str]:
        """Upload a compiled pipeline as a version, unless it is there already; return the ids of pipeline and version."""
        with self._as_input_error():
            pipelines = self._client.list_pipelines(filter=_named(pipeline), namespace=self._namespace).pipelines
            if pipelines:
                pipeline_id = pipelines[0].pipeline_id
            else:
                new = kfp_server_api.V2beta1Pipeline(display_name=pipeline, namespace=self._namespace or None)
                pipeline_id = self._client.pipelines.pipeline_service_create_pipeline(pipeline=new).pipeline_id
            versions = self._client.list_pipeline_versions(pipeline_id, filter=_named(version)).pipeline_versions
            there = versions[0] if versions else self._client.upload_pipeline_version(str(package), version, pipeline_id)
            return pipeline_id, there.pipeline_version_id

    def start(self, name: str, **settings: Any) -> str:
        """Start a run, see `kfp.Client.run_pipeline`, and return its id."""
        with self._as_input_error():
            return self._client.run_pipeline(job_name=name, **settings).run_id

    def schedule(self, name: str, cron: str, *, experiment_id: str, **settings: Any) -> tuple[str, int]:
        """Start runs by the clock, in place of the experiment's recurring runs of the same name.

        A run that is due while the one before is under way waits; runs that were missed are not made up for.

        Returns:
            The recurring run's id, and how many it replaces.
        """
        with self._as_input_error():
            before = self._client.list_recurring_runs(experiment_id=experiment_id, filter=_named(name), page_size=100)
            made = self._client.create_recurring_run(
                experiment_id, name, cron_expression=cron, no_catchup=True, max_concurrency=1, **settings
            )
            for old in before.recurring_runs or []:
                self._client.delete_recurring_run(old.recurring_run_id)
            return made.recurring_run_id, len(before.recurring_runs or [])

    def wait(self, run_id: str, *, minutes: float | None, on_change: Callable[[Any], None]) -> Any:
        """Wait until a run has ended, calling `on_change` with what is known of it, and return it.

        Raises:
            InputError: the service was away for minutes, or refused to tell.
            TimeoutError: the run has not ended in time; it goes on.
        """
        deadline = time.monotonic() + minutes * 60 if minutes else None
        pause, misses = 0.5, 0
        while True:
            try:
                with self._as_input_error():
                    run = self._client.get_run(run_id)
                misses = 0
                on_change(run)
                if run.state in FINAL:
                    return run
            except InputError as error:  # a service that restarts, or a proxy before it, is no failed run
                misses += 1
                refused = isinstance(error.__cause__, kfp_server_api.ApiException) and error.__cause__.status < 500
                if refused or misses > MAX_POLL_FAILURES:
                    raise
            if deadline and time.monotonic() + pause > deadline:
                raise TimeoutError(run_id)
            time.sleep(pause)
            pause = min(pause * 1.5, MAX_PAUSE_SECONDS)

    def ui_url(self, kind: str, identifier: str) -> str:
        """Return the address of the page that shows a thing; `kind` is `runs` or `recurringrun`."""
        return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT', self.host)}/#/{kind}/details/{identifier}"

    def _health(self) -> bool:
        """Return whether the service has namespaces, if it is one."""
        ask = self._client._healthz_api.healthz_service_get_healthz_with_http_info
        health, _, headers = ask(_request_timeout=RESPONSE_TIMEOUT_SECONDS)
        if "json" not in headers.get("Content-Type", ""):
            raise InputError(f"{self.host} answers with a page, not with Kubeflow Pipelines' API: it wants a token, or /pipeline")
        return bool(health.multi_user)

    @contextlib.contextmanager
    def _as_input_error(self) -> Iterator[None]:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # kfp prints links of its own
                yield
        except kfp_server_api.ApiException as error:
            hint = HINTS.get(error.status, "it failed")
            raise InputError(f"{self.host} answers {error.status}, {hint}{_reason(error)}") from error
        except urllib3.exceptions.HTTPError as error:
            cause = getattr(error, "reason", None) or error
            raise InputError(f"nothing answers at {self.host}: {_line(str(cause).split(': ', 1)[-1])}") from error


def failures(run: Any) -> list[str]:
    """Return `task: message` for every task of a run that failed, or what is known of the run."""
    details = (run.run_details and run.run_details.task_details) or []
    failed = [(task.display_name, _message(task)) for task in details if task.state == "FAILED"]
    # Those without a message are the tasks around the one that failed.
    told = [f"{name}: {message}" for name, message in failed if message] or [f"{name} failed" for name, _ in failed]
    return list(dict.fromkeys(told)) or [_message(run) or f"the service says {run.state} and no more"]


def _message(ended: Any) -> str:
    errors = [ended.error, *(status.error for status in reversed(ended.state_history or []))]
    return next((_line(error.message) for error in errors if error and error.message), "")


def _reason(error: kfp_server_api.ApiException) -> str:
    try:
        body = json.loads(error.body)
        message = body.get("message") or body.get("error") or ""
    except (TypeError, ValueError, AttributeError):
        message = ""
    return f": {_line(str(message))}" if message else ""


def _line(text: str) -> str:
    return redact_credentials(" ".join(text.split()))[:500]


def _named(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _authentication(token_file: Path | None) -> dict[str, Any]:
    if token_file is None and (token := os.environ.get("KF_PIPELINES_TOKEN")):
        return {"existing_token": token.strip()}
    path = token_file or Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", KF_PIPELINES_SA_TOKEN_PATH))
    if path.is_file():
        return {"credentials": ServiceAccountTokenVolumeCredentials(str(path))}
    if token_file:
        raise InputError(f"there is no token file {token_file}")
    return {}
