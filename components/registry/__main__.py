"""Work on one registered version by hand: `python -m components.registry {sign,image,sbom} VERSION`."""

import argparse
from pathlib import Path

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.errors import exit_on_error
from components.registry import RegisteredVersion, connect, get_champion, get_version, local_copy, registry_uri
from components.registry.model_image import write_oci_archive
from components.registry.model_sbom import write_model_sbom
from components.registry.signatures import SIGNING_KEY, read_signing_key, sign
from components.uris import redact_credentials, signature_uri


def parser() -> argparse.ArgumentParser:
    """Return the parser of the three commands."""
    top = argparse.ArgumentParser(prog="python -m components.registry", description="Work on one registered version.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("version", type=int, nargs="?", metavar="VERSION", help="number of the version; default: the champion")
    shared.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs; default: %(default)s")
    commands = top.add_subparsers(dest="command", required=True, metavar="{sign,image,sbom}")
    commands.add_parser(
        "sign", parents=[shared], help=f"sign the version with the private key of {SIGNING_KEY}, PEM text or the path of a file"
    )
    for name, form in (("image", "an OCI archive, for a container registry"), ("sbom", "a CycloneDX bill of materials")):
        command = commands.add_parser(name, parents=[shared], help=f"write the version as {form}")
        command.add_argument("--output", type=Path, required=True, metavar="FILE", help="the file to write")
    return top


def run(options: argparse.Namespace) -> str:
    """Run one command and return the line to print."""
    client = connect(registry_uri(options.runs))
    registered = get_champion(client) if options.version is None else get_version(client, options.version)
    if registered is None:
        raise InputError("there is no champion: no model has passed the gate yet; give the number of a version")
    version = f"{MODEL_NAME} version {registered.version}"
    if options.command == "sign":
        return f"{version} is signed: {_sign(registered)}"
    with local_copy(registered) as model_dir:
        if options.command == "image":
            return f"{version} is {options.output}, {write_oci_archive(model_dir, options.output)}"
        write_model_sbom(model_dir, options.output)
        return f"{version} is described in {options.output}"


def _sign(registered: RegisteredVersion) -> str:
    key = read_signing_key()
    if not key:
        raise InputError(f"{SIGNING_KEY}: got none, expected a private key, as PEM text or the path of a PEM file")
    with local_copy(registered) as model_dir:
        sign(model_dir, registered.uri, key)
    return redact_credentials(signature_uri(registered.uri))


def main() -> None:
    """Run one command and print its result."""
    options = parser().parse_args()
    with exit_on_error(options.command):
        line = run(options)
    print(f"{options.command}: {line}")


if __name__ == "__main__":
    main()
