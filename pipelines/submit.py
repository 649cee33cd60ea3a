"""Submit the pipeline to Kubeflow: `python -m pipelines.submit --host URL --source URI`."""

import argparse
import datetime
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from brain_tumor.errors import InputError
from components.uris import is_local_path, redact_credentials
from pipelines.compile import PIPELINE, compile_pipeline, version_name
from pipelines.kubeflow import KubeflowClient, failures
from pipelines.parameters import add_parameter_options, parse_parameters, reject_placeholders
from pipelines.pipeline import brain_tumor
from pipelines.resources import CHECKPOINT_PVC, CHECKPOINTS, MLFLOW_SECRET, STORE_SECRET

EXPERIMENT = "brain-tumor"
STEPS = {label.removeprefix("exec-") for label in brain_tumor.pipeline_spec.deployment_spec["executors"]}
IN_CLUSTER_HOST = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
STORES = ("s3://", "gs://")
LOCAL_SCHEMES = {"file", "local", "memory", "sqlite"}
LOOPBACK = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}
EXPECTED = {
    "source": "a URI that the cluster can reach: s3://, gs://, https://, kaggle:// or synthetic://",
    "model_store": "s3:// or gs://",
    "tracking_uri": "the URL of an MLflow server",
}
EPILOG = """\
The compiled pipeline is uploaded as a version of the pipeline `brain-tumor`. The version is named after its content, so the same
code is uploaded once. The cluster must reach source, model store and MLflow; other URIs are rejected before anything is sent.

examples:
  train on a dataset in a bucket, and wait for the promotion decision:
    export KF_PIPELINES_ENDPOINT=https://kubeflow.example.com/pipeline KF_PIPELINES_TOKEN=...
    export MLFLOW_TRACKING_URI=http://mlflow.mlflow.svc:5000
    python -m pipelines.submit --source s3://scans/2026-11.zip --set model_store=s3://models

  two A100 and 60 epochs, in a team's namespace, without waiting:
    python -m pipelines.submit --source s3://scans/2026-11.zip --set model_store=s3://models --namespace radiology --no-wait \\
      --set gpus=2 --set epochs=60 --set node_selector='{"cloud.google.com/gke-accelerator": "nvidia-tesla-a100"}'

  every night at 03:00 UTC (six fields, seconds first); it replaces the previous schedule:
    python -m pipelines.submit --source s3://scans/all --set model_store=s3://models --cron "0 0 3 * * *"

  synthetic phantoms on CPU, to test the cluster end to end:
    python -m pipelines.submit --set model_store=s3://models --set gpus=0

  checkpoints on a volume, so that a training that loses its node resumes:
    CHECKPOINT_PVC=brain-tumor-checkpoints python -m pipelines.submit --source ... --set model_store=...

environment:
  KF_PIPELINES_ENDPOINT     the host, if --host is not given
  KF_PIPELINES_TOKEN        a bearer token; default in a pod: that of its service account
  KF_PIPELINES_UI_ENDPOINT  the URL of the web interface, if it is not the host
  MLFLOW_TRACKING_URI       the registry, if --set tracking_uri is not given
  COMPONENTS_IMAGE          the container image of every step
  SERVING_IMAGE             the container image of the transformer, for a service that the deploy step creates
  CHECKPOINT_PVC            a PersistentVolumeClaim for checkpoints

Keys of the store and of MLflow are no parameters: they are in the Secrets brain-tumor-store and brain-tumor-mlflow, if needed.

exit status: 0 the run succeeded, whether the model was promoted or not, or was started; 1 it failed, or was not submitted.
"""


def cluster_arguments(source: str, settings: list[str]) -> dict[str, Any]:
    """Return the pipeline's arguments for a cluster.

    Raises:
        InputError: See `parse_parameters` and `reject_placeholders`; or the cluster cannot reach the source, the model store or
            MLflow; or one of their URIs contains a password.
    """
    arguments = {"source": source} | parse_parameters(settings)
    reject_placeholders(arguments)
    arguments.setdefault("tracking_uri", os.environ.get("MLFLOW_TRACKING_URI", ""))
    arguments.setdefault("model_store", brain_tumor.component_spec.inputs["model_store"].default)
    if not arguments["tracking_uri"]:
        raise InputError(
            f"tracking_uri: got none, expected {EXPECTED['tracking_uri']}: set MLFLOW_TRACKING_URI or --set tracking_uri=http://..."
        )
    for name, expected in EXPECTED.items():
        shown = redact_credentials(arguments[name])
        if _is_local_to_this_machine(arguments[name]):
            raise InputError(f"{name}: got {shown}, on this machine only, expected {expected}")
        if urlsplit(arguments[name]).password:
            secret = MLFLOW_SECRET if name == "tracking_uri" else STORE_SECRET
            raise InputError(f"{name}: got a password, which Kubeflow would show: put it into the Secret {secret}")
        if name == "model_store" and not arguments[name].startswith(STORES):
            raise InputError(f"{name}: got {shown}, expected {expected}")
    return arguments


def _is_local_to_this_machine(uri: str) -> bool:
    if is_local_path(uri):
        return True
    parts = urlsplit(uri)
    return parts.scheme.split("+")[0] in LOCAL_SCHEMES or parts.hostname in LOOPBACK


def submit(options: argparse.Namespace) -> int:
    """Upload the pipeline, start or schedule a run, wait for its end unless `--no-wait`, and return the exit status.

    Raises:
        InputError: An invalid option or argument, or the service rejects it.
    """
    arguments = cluster_arguments(options.source, options.set)
    name = PIPELINE if options.cron else f"{PIPELINE}-{datetime.datetime.now(datetime.UTC):%Y%m%dt%H%M%S}"
    if CHECKPOINT_PVC:
        arguments.setdefault("checkpoint_dir", f"{CHECKPOINTS}/{name}")
    kubeflow = KubeflowClient(_host(options.host), namespace=options.namespace, token_file=options.token_file)
    experiment_id = kubeflow.get_experiment(options.experiment, create=options.experiment == EXPERIMENT)
    with tempfile.TemporaryDirectory() as folder:
        package = compile_pipeline(Path(folder) / "pipeline.yaml")
        version = version_name(package)
        pipeline_id, version_id = kubeflow.upload(package, pipeline=PIPELINE, version=version)
    settings = {
        "experiment_id": experiment_id,
        "pipeline_id": pipeline_id,
        "version_id": version_id,
        "params": arguments,
        "service_account": options.service_account,
    }
    if options.cron:
        schedule_id, replaced = kubeflow.schedule(name, options.cron, **settings)
        previous = f", replaces {replaced} schedule" if replaced else ""
        print(f"submit: {version} scheduled at {options.cron}{previous}: {kubeflow.ui_url('recurringrun', schedule_id)}")
        return 0
    run_id = kubeflow.start(name, **settings)
    url = kubeflow.ui_url("runs", run_id)
    print(f"submit: {version} runs as {name}: {url}", flush=True)
    return _wait(kubeflow, run_id, url, options.timeout) if options.wait else 0


def _host(option: str | None) -> str:
    in_cluster = IN_CLUSTER_HOST if "KUBERNETES_SERVICE_HOST" in os.environ else ""
    host = option or os.environ.get("KF_PIPELINES_ENDPOINT") or in_cluster
    if not host:
        tunnel = "kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888"
        raise InputError(f"host: got none: give --host http://... or set KF_PIPELINES_ENDPOINT ({tunnel}: http://localhost:8888)")
    if not host.startswith(("http://", "https://")):
        raise InputError(f"host: got {host}, expected http://... or https://...")
    return host


def _wait(kubeflow: KubeflowClient, run_id: str, url: str, minutes: float | None) -> int:
    """Wait for the end of a run, print each step that succeeds, and return the exit status."""
    succeeded: set[str] = set()

    def print_progress(run: Any) -> None:
        for task in (run.run_details and run.run_details.task_details) or []:
            if task.display_name in STEPS and task.state == "SUCCEEDED" and task.display_name not in succeeded:
                succeeded.add(task.display_name)
                print(f"submit: {task.display_name} succeeded", flush=True)

    try:
        run = kubeflow.wait(run_id, minutes=minutes, on_poll=print_progress)
    except TimeoutError:
        print(f"the run has not ended after {minutes:g} minutes and continues: {url}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped waiting; the run continues: {url}", file=sys.stderr)
        return 130
    if run.state == "SUCCEEDED":
        outcomes = {"register": ": the model is registered", "refuse": ": the model was not promoted, see the report"}
        print("submit: the run succeeded" + next((outcome for step, outcome in outcomes.items() if step in succeeded), ""))
        return 0
    print(f"the run {run.state.lower()}: {url}", *failures(run), sep="\n  ", file=sys.stderr)
    return 1


def _cron(text: str) -> str:
    if len(text.split()) != 6 and not text.startswith("@"):
        raise argparse.ArgumentTypeError(
            f"got {text!r} with {len(text.split())} fields, expected 6, seconds first, such as '0 0 3 * * *'"
        )
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.submit",
        description="Submit the pipeline to Kubeflow, wait for the end of the run and print the result.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", help="URL of Kubeflow Pipelines' API; default: KF_PIPELINES_ENDPOINT, else the cluster's own")
    parser.add_argument("--namespace", default="", help="namespace on a multi-user Kubeflow; default in a pod: its own")
    parser.add_argument("--token-file", type=Path, help="file of a bearer token, read again at every request")
    parser.add_argument("--experiment", default=EXPERIMENT, help="existing experiment; default: %(default)s, created if missing")
    add_parameter_options(parser, source_help="a URI that the cluster can reach")
    parser.add_argument("--service-account", help="of the steps, such as pipeline-runner; default: Kubeflow's own")
    parser.add_argument("--cron", type=_cron, help="run on a schedule in UTC instead of now")
    parser.add_argument("--no-wait", dest="wait", action="store_false", help="return once the run is started")
    parser.add_argument(
        "--timeout", type=float, metavar="MINUTES", help="maximum wait; the run itself continues. default: unlimited"
    )
    return parser


def main(command_line: Sequence[str] | None = None) -> int:
    """Submit the pipeline; return 0 if the run succeeded or was started."""
    try:
        return submit(_parser().parse_args(command_line))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    sys.exit(main())
