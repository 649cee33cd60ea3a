"""Change the served version by hand: `python -m components.deploy {deploy,promote,rollback} --namespace NAME`."""

import argparse
import sys
from pathlib import Path

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.deploy.deploy import READY_SECONDS, deploy, promote, roll_back
from components.deploy.inferenceservice import MODES, STANDARD
from components.deploy.kubernetes_api import InferenceServiceClient
from components.deploy.rollout import Rollout, serving_uri
from components.errors import exit_on_input_error


def champion_uri(runs: Path, serving_store: str) -> str:
    """Return the URI at which KServe reads the champion.

    Args:
        runs: Folder of all runs. Its registry is used if MLFLOW_TRACKING_URI is not set.
        serving_store: URI of the model store as KServe reads it; empty if the registry's URI is the same.

    Raises:
        InputError: There is no champion.
    """
    from components.registry import connect, get_champion, registry_uri

    registered = get_champion(connect(registry_uri(runs)))
    if registered is None:
        raise InputError("there is no champion: no model has passed the gate yet; give --model-uri")
    return serving_uri(vars(registered), serving_store)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the three commands."""
    top = argparse.ArgumentParser(
        prog="python -m components.deploy",
        description="Change the model version that KServe serves, and its traffic percentage.",
        epilog="In a pod its ServiceAccount is used, elsewhere KUBECONFIG. The last line printed lists the served versions.",
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--namespace", required=True, help="namespace of the InferenceService")
    shared.add_argument("--force", action="store_true", help="take fields over from another field manager, such as kubectl")
    shared.add_argument(
        "--ready-seconds", type=float, default=READY_SECONDS, metavar="S", help="timeout until ready; default: %(default)s"
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="{deploy,promote,rollback}")
    first = commands.add_parser("deploy", parents=[shared], help="serve a version as canary; the first gets 100 %% of traffic")
    first.add_argument("--model-uri", metavar="URI", help="s3://, gs:// or pvc://CLAIM/PATH of one version; default: champion")
    first.add_argument(
        "--canary-percent", type=int, default=10, metavar="N", help="traffic percentage, 1 to 100; default: %(default)s"
    )
    first.add_argument(
        "--serving-store", default="", metavar="URI", help="the champion's store as KServe reads it, such as pvc://CLAIM/models"
    )
    first.add_argument(
        "--mode", choices=list(MODES), default=STANDARD, help="deployment mode of a new service; default: %(default)s"
    )
    first.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs; default: %(default)s")
    commands.add_parser("promote", parents=[shared], help="give the canary 100 %% of traffic")
    commands.add_parser("rollback", parents=[shared], help="remove the canary; without one, serve the previous version")
    return top


def run(options: argparse.Namespace) -> Rollout:
    """Run one command and return the served versions."""
    client = InferenceServiceClient(options.namespace, force=options.force)
    if options.command == "promote":
        return promote(client, ready_seconds=options.ready_seconds)
    if options.command == "rollback":
        return roll_back(client, ready_seconds=options.ready_seconds)
    uri = options.model_uri or champion_uri(options.runs, options.serving_store)
    return deploy(client, uri, canary_percent=options.canary_percent, mode=options.mode, ready_seconds=options.ready_seconds)


def main() -> None:
    """Run one command and print the served versions."""
    options = parser().parse_args()
    try:
        with exit_on_input_error(options.command):
            rollout = run(options)
    except KeyboardInterrupt:
        sys.exit(f"\n{options.command}: interrupted; `kubectl get inferenceservice {MODEL_NAME}` shows the state")
    print(f"{options.command}: {MODEL_NAME} in namespace {options.namespace} serves {rollout}")


if __name__ == "__main__":
    main()
