"""Submit the pipeline to Kubeflow: `python -m pipelines.submit --host ADDRESS --source ADDRESS`."""

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
from pipelines.parameters import add_parameter_options, parse_parameters
from pipelines.pipeline import brain_tumor
from pipelines.resources import CHECKPOINT_PVC, CHECKPOINTS, MLFLOW_SECRET, STORE_SECRET

EXPERIMENT = "brain-tumor"
STEPS = {label.removeprefix("exec-") for label in brain_tumor.pipeline_spec.deployment_spec["executors"]}
IN_CLUSTER_HOST = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
STORES = ("s3://", "gs://")
LOCAL_SCHEMES = {"file", "local", "memory", "sqlite"}
LOOPBACK = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}
EPILOG = """\
The compiled pipeline is uploaded as a version of the pipeline `brain-tumor`, named after its content: the same code is uploaded
once. Source, model store and MLflow must be addresses that the cluster reaches; what is not is refused before anything is sent.

examples:
  train on a set in a bucket, and wait until the model is registered or refused:
    export KF_PIPELINES_ENDPOINT=https://kubeflow.example.com/pipeline KF_PIPELINES_TOKEN=...
    export MLFLOW_TRACKING_URI=http://mlflow.mlflow.svc:5000
    python -m pipelines.submit --source s3://scans/2026-11.zip --set model_store=s3://models

  two A100 and 60 epochs, in a team's namespace, without waiting:
    python -m pipelines.submit --source s3://scans/2026-11.zip --set model_store=s3://models --namespace radiology --no-wait \\
      --set gpus=2 --set epochs=60 --set node_selector='{"cloud.google.com/gke-accelerator": "nvidia-tesla-a100"}'

  every night at 03:00 UTC (six fields, seconds first), in place of the schedule before:
    python -m pipelines.submit --source s3://scans/all --set model_store=s3://models --cron "0 0 3 * * *"

  phantoms on processors, to see that the cluster works:
    python -m pipelines.submit --set model_store=s3://models --set gpus=0

  checkpoints on a volume, so that a training whose node is taken away goes on:
    CHECKPOINT_PVC=brain-tumor-checkpoints python -m pipelines.submit --source ... --set model_store=...

environment:
  KF_PIPELINES_ENDPOINT     the host, where --host is not given
  KF_PIPELINES_TOKEN        a bearer token; in a pod its own service account's is taken
  KF_PIPELINES_UI_ENDPOINT  where people open the page, if that is not the host
  MLFLOW_TRACKING_URI       the registry, where --set tracking_uri is not given
  COMPONENTS_IMAGE          the image that every step runs in
  SERVING_IMAGE             the transformer's, of a service that the deploy step creates
  CHECKPOINT_PVC            a PersistentVolumeClaim for checkpoints

Keys of the store and of MLflow are no parameters: the Secrets brain-tumor-store and brain-tumor-mlflow hold them, if they exist.

exit status: 0 the run succeeded, a model that the gate refused included, or was started; 1 it failed, or could not be submitted.
"""


def cluster_arguments(source: str, settings: list[str]) -> dict[str, Any]:
    """Return the pipeline's arguments for a cluster.

    Raises:
        InputError: see `parse_parameters`; or source, model store or MLflow's address means something on this machine only, or
            holds a password.
    """
    arguments = {"source": source} | parse_parameters(settings)
    arguments.setdefault("tracking_uri", os.environ.get("MLFLOW_TRACKING_URI", ""))
    arguments.setdefault("model_store", brain_tumor.component_spec.inputs["model_store"].default)
    if not arguments["tracking_uri"]:
        raise InputError("there is no MLflow to register in: set MLFLOW_TRACKING_URI or give --set tracking_uri=http://...")
    wanted = {
        "source": "an address that the cluster reaches: s3://, gs://, https://, kaggle:// or synthetic://",
        "model_store": "s3:// or gs://",
        "tracking_uri": "the address of an MLflow server",
    }
    for name, what in wanted.items():
        if _is_local_to_this_machine(arguments[name]):
            raise InputError(f"{name} is {redact_credentials(arguments[name])}, on this machine only: wanted {what}")
        if urlsplit(arguments[name]).password:
            secret = MLFLOW_SECRET if name == "tracking_uri" else STORE_SECRET
            raise InputError(f"{name} holds a password, which Kubeflow's page would show: the Secret {secret} is for it")
    if not arguments["model_store"].startswith(STORES):
        raise InputError(f"model_store is {redact_credentials(arguments['model_store'])}, wanted {wanted['model_store']}")
    return arguments


def _is_local_to_this_machine(address: str) -> bool:
    if is_local_path(address):
        return True
    parts = urlsplit(address)
    return parts.scheme.split("+")[0] in LOCAL_SCHEMES or parts.hostname in LOOPBACK


def submit(options: argparse.Namespace) -> int:
    """Upload, start or schedule, and wait if wanted; return the exit status.

    Raises:
        InputError: what was given cannot be used, or the service refuses it.
    """
    arguments = cluster_arguments(options.source, options.set)
    name = PIPELINE if options.cron else f"{PIPELINE}-{datetime.datetime.now(datetime.UTC):%Y%m%dt%H%M%S}"
    if CHECKPOINT_PVC:
        arguments.setdefault("checkpoint_dir", f"{CHECKPOINTS}/{name}")
    kubeflow = KubeflowClient(_host(options.host), namespace=options.namespace, token_file=options.token_file)
    experiment_id = kubeflow.experiment(options.experiment, create=options.experiment == EXPERIMENT)
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
        before = f", in place of {replaced} before" if replaced else ""
        print(f"submit: {version} by the clock, {options.cron}{before}: {kubeflow.ui_url('recurringrun', schedule_id)}")
        return 0
    run_id = kubeflow.start(name, **settings)
    url = kubeflow.ui_url("runs", run_id)
    print(f"submit: {version} runs as {name}: {url}", flush=True)
    return _wait(kubeflow, run_id, url, options.timeout) if options.wait else 0


def _host(given: str | None) -> str:
    host = (
        given or os.environ.get("KF_PIPELINES_ENDPOINT") or (IN_CLUSTER_HOST if "KUBERNETES_SERVICE_HOST" in os.environ else "")
    )
    if not host:
        tunnel = "kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888"
        raise InputError(f"no host: give --host http://... or set KF_PIPELINES_ENDPOINT ({tunnel} makes http://localhost:8888)")
    if not host.startswith(("http://", "https://")):
        raise InputError(f"host is {host}, wanted http://... or https://...")
    return host


def _wait(kubeflow: KubeflowClient, run_id: str, url: str, minutes: float | None) -> int:
    ended: set[str] = set()

    def tell(run: Any) -> None:
        for task in (run.run_details and run.run_details.task_details) or []:
            if task.display_name in STEPS and task.state == "SUCCEEDED" and task.display_name not in ended:
                ended.add(task.display_name)
                print(f"submit: {task.display_name} succeeded", flush=True)

    try:
        run = kubeflow.wait(run_id, minutes=minutes, on_change=tell)
    except TimeoutError:
        print(f"the run has not ended after {minutes:g} minutes and goes on: {url}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nno longer waiting; the run goes on: {url}", file=sys.stderr)
        return 130
    if run.state == "SUCCEEDED":
        verdicts = {"register": ": the model is registered", "refuse": ": the gate refused the model, the report says why"}
        print("submit: the run succeeded" + next((said for step, said in verdicts.items() if step in ended), ""))
        return 0
    print(f"the run {run.state.lower()}: {url}", *failures(run), sep="\n  ", file=sys.stderr)
    return 1


def _cron(text: str) -> str:
    if len(text.split()) != 6 and not text.startswith("@"):
        raise argparse.ArgumentTypeError(f"{text!r} has {len(text.split())} fields, wanted 6, seconds first, as '0 0 3 * * *'")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.submit",
        description="Submit the pipeline to Kubeflow, wait for the run's end, and say what came of it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", help="of Kubeflow Pipelines' API; default: KF_PIPELINES_ENDPOINT, in a cluster its own")
    parser.add_argument("--namespace", default="", help="the team's, where Kubeflow has one for each; in a pod its own")
    parser.add_argument("--token-file", type=Path, help="holds a bearer token, read again at every request")
    parser.add_argument("--experiment", default=EXPERIMENT, help="has to be there; default: %(default)s, made if it is not")
    add_parameter_options(parser, source_help="an address that the cluster reaches")
    parser.add_argument("--service-account", help="that the steps run as, such as pipeline-runner; default: Kubeflow's own")
    parser.add_argument("--cron", type=_cron, help="run by the clock instead of now, in UTC")
    parser.add_argument("--no-wait", dest="wait", action="store_false", help="return once the run is started")
    parser.add_argument("--timeout", type=float, metavar="MINUTES", help="of waiting; the run itself goes on. default: none")
    return parser


def main(command_line: Sequence[str] | None = None) -> int:
    """Submit the pipeline; return 0 where the run succeeded or was started."""
    try:
        return submit(_parser().parse_args(command_line))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    sys.exit(main())
