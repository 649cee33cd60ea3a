"""Register the versions of a model store again, for a registry that was lost."""

from pathlib import Path
from typing import TYPE_CHECKING

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME, read_model_card
from components.register.register import verify_in_process
from components.registry import (
    dataset_tags,
    make_champion,
    next_version,
    relative_uri,
    unregistered_versions,
)
from components.registry_file import as_input_error
from components.uris import is_local_path

if TYPE_CHECKING:
    from mlflow import MlflowClient


def restore(client: "MlflowClient", model_store: str) -> list[int]:
    """Register the versions of a folder of models that the registry does not know, under their numbers; the last is the champion.

    A version is only in the store if it passed the gate, so the last one was the champion.

    Args:
        client: The registry.
        model_store: The folder. A version is in `<model_store>/brain-tumor/<version>`.

    Returns:
        The registered versions.

    Raises:
        InputError: The store is no folder or has no such version, a version violates the model contract, or its number is taken.
    """
    if not is_local_path(model_store):
        raise InputError(f"model_store: got {model_store}, expected a folder; versions elsewhere cannot be listed")
    versions = unregistered_versions(client, model_store)
    if not versions:
        raise InputError(f"the registry knows every version in {model_store}; --model names a model that is not in the store")
    base = Path(model_store).resolve() / MODEL_NAME
    documents = {number: read_model_card(base / str(number)).document for number in versions}
    for number, document in documents.items():
        if document["version"] != number:
            raise InputError(f"{base / str(number)}: its model.json has version {document['version']}, expected {number}")
    if versions[0] < next_version(client):
        raise InputError(f"{base / str(versions[0])}: the registry has later versions, expected none from {versions[0]} on")
    verify_in_process(base / str(versions[-1]))
    with as_input_error(f"cannot register the versions in {model_store}", client):
        if not client.search_registered_models(filter_string=f"name='{MODEL_NAME}'"):
            client.create_registered_model(MODEL_NAME)
        for number, document in documents.items():
            _create(client, number, relative_uri(client, str(base / str(number))), dataset_tags(document))
    make_champion(client, versions[-1])
    return versions


def _create(client: "MlflowClient", number: int, source: str, tags: dict[str, str]) -> None:
    """Create a version of a number. MLflow counts up, so that the numbers before it are created and deleted."""
    while True:
        created = client.create_model_version(MODEL_NAME, source=source, tags=tags)
        if int(created.version) == number:
            return
        client.delete_model_version(MODEL_NAME, created.version)
        if int(created.version) > number:
            raise InputError(f"version {number}: the registry has given this number before")
