"""The shell commands that register a model by hand, as messages advise them."""

import shlex

from components.uris import redact_credentials


def describe_unregistered(tracking_uri: str, model_store: str, versions: list[int]) -> str:
    """Return one line about versions in the model store that the registry does not know, and how to register them."""
    what = f"the model store {model_store} has versions that the registry {redact_credentials(tracking_uri)} does not know"
    command = register_command(model_store, tracking_uri)
    return f"{what}: {', '.join(map(str, versions))}; register them with `{command}` or move them away"


def register_command(model_store: str, tracking_uri: str, *options: str) -> str:
    """Return the shell command that registers the stored versions, or the model that the options name."""
    return registry_command("components.register", [*options, "--model-store", model_store], tracking_uri)


def registry_command(module: str, options: list[str], tracking_uri: str) -> str:
    """Return a shell command with a registry's URI. One with credentials is left to MLFLOW_TRACKING_URI."""
    uri = ["--tracking-uri", tracking_uri] if redact_credentials(tracking_uri) == tracking_uri else []
    return f".venv/bin/python {shlex.join(['-m', module, *options, *uri])}"
