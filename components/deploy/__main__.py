"""Change the served version by hand: `python -m components.deploy {deploy,promote,rollback} --namespace NAME`."""

import argparse
import sys
from pathlib import Path

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.deploy.deploy import READY_SECONDS, deploy, promote, roll_back
from components.deploy.inferenceservice import MODES, STANDARD
from components.deploy.kubernetes_api import InferenceServiceClient
from components.deploy.rollout import URI_FORMS, serving_uri
from components.deploy.signature import verify_signature, version_at
from components.errors import exit_on_error
from components.registry import RegisteredVersion, connect, get_champion, registry_uri, runs_folder, why_no_champion
from components.registry.signatures import TRUSTED_KEYS


def champion(runs: Path) -> RegisteredVersion:
    """Return the champion of the registry at MLFLOW_TRACKING_URI, or of that in a folder of runs if it is not set.

    Raises:
        InputError: There is no champion.
    """
    client = connect(registry_uri(runs))
    registered = get_champion(client)
    if registered is None:
        raise InputError(f"there is no champion: {why_no_champion(client, str(runs / 'models'))}; give --model-uri")
    return registered


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
    first.add_argument(
        "--model-uri",
        metavar="URI",
        help=f"{URI_FORMS} of one version; default: champion",
    )
    first.add_argument(
        "--canary-percent", type=int, default=10, metavar="N", help="traffic percentage, 1 to 100; default: %(default)s"
    )
    first.add_argument(
        "--serving-store",
        default="",
        metavar="URI",
        help="the version's store as KServe reads it, such as pvc://CLAIM/models or oci+native://REGISTRY/NAME",
    )
    first.add_argument(
        "--allow-unsigned",
        action="store_true",
        help=f"serve a version that was changed, or signed by no key in {TRUSTED_KEYS}",
    )
    first.add_argument(
        "--mode", choices=list(MODES), default=STANDARD, help="deployment mode of a new service; default: %(default)s"
    )
    first.add_argument("--runs", type=runs_folder, default=Path("runs"), help="folder of all runs; default: %(default)s")
    commands.add_parser("promote", parents=[shared], help="give the canary 100 %% of traffic")
    commands.add_parser("rollback", parents=[shared], help="remove the canary; without one, serve the previous version")
    return top


def run(options: argparse.Namespace) -> str:
    """Run one command and return the served versions."""
    client = InferenceServiceClient(options.namespace, force=options.force)
    if options.command == "promote":
        return str(promote(client, ready_seconds=options.ready_seconds))
    if options.command == "rollback":
        return str(roll_back(client, ready_seconds=options.ready_seconds))
    registered = version_at(options.model_uri) if options.model_uri else champion(options.runs)
    digest, remark = verify_signature(registered, allow_unsigned=options.allow_unsigned)
    rollout = deploy(
        client,
        serving_uri(vars(registered), options.serving_store),
        canary_percent=options.canary_percent,
        digest=digest,
        mode=options.mode,
        ready_seconds=options.ready_seconds,
    )
    return f"{rollout}{remark}"


def main() -> None:
    """Run one command and print the served versions."""
    options = parser().parse_args()
    try:
        with exit_on_error(options.command):
            served = run(options)
    except KeyboardInterrupt:
        sys.exit(f"\n{options.command}: interrupted; `kubectl get inferenceservice {MODEL_NAME}` shows the state")
    print(f"{options.command}: {MODEL_NAME} in namespace {options.namespace} serves {served}")


if __name__ == "__main__":
    main()
