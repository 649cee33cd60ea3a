"""Which versions are served, and at which share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.uris import redact_credentials

SCHEMES = ("s3", "gs", "pvc")


@dataclass(frozen=True)
class Rollout:
    """What is served.

    Attributes:
        stable: address of the version that gets what the canary does not.
        canary: address of the version on trial; None for none.
        canary_percent: share of the canary; at 0 it is there and gets no request.
        previous: address of the version that was stable before; None where there is none to go back to.
    """

    stable: str
    canary: str | None = None
    canary_percent: int = 0
    previous: str | None = None

    @property
    def newest(self) -> str:
        """The address of the canary, or of the stable version where there is none."""
        return self.canary or self.stable

    def __str__(self) -> str:
        if self.canary is None:
            return f"version {version_of(self.stable)} at 100 %"
        return (
            f"version {version_of(self.stable)} at {100 - self.canary_percent} %, "
            f"version {version_of(self.canary)} at {self.canary_percent} %"
        )


def check_model_uri(uri: str) -> str:
    """Return the address of one version if KServe can read it.

    Raises:
        InputError: another scheme, or the address of a whole store.
    """
    scheme, _, _ = uri.partition("://")
    if scheme not in SCHEMES:
        raise InputError(
            f"KServe cannot read {redact_credentials(uri)}: wanted s3://, gs:// or pvc://CLAIM/PATH; "
            "where the store is a mounted PVC, serving_store names its claim"
        )
    if not version_of(uri).isdigit():
        raise InputError(f"{redact_credentials(uri)} is not one version: wanted an address such as s3://bucket/{MODEL_NAME}/3")
    return uri.rstrip("/")


def version_of(uri: str) -> str:
    """Return the version that an address ends with."""
    return uri.rstrip("/").rpartition("/")[2]


def serving_uri(registered: Mapping[str, Any], serving_store: str) -> str:
    """Return where KServe reads a registered version: the address in the registry, or below the store that it sees.

    Args:
        registered: name, version and uri.
        serving_store: the store as KServe reads it, such as pvc://claim/models; empty where it reads the same address.
    """
    if serving_store:
        return f"{serving_store.rstrip('/')}/{registered['name']}/{registered['version']}"
    return str(registered["uri"])
