"""The served versions and their traffic percentages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.uris import redact_credentials

SCHEMES = ("s3", "gs", "pvc")


@dataclass(frozen=True)
class Rollout:
    """The versions that an InferenceService serves.

    Attributes:
        stable: URI of the stable version, which receives the traffic that the canary does not.
        canary: URI of the canary; None if there is none.
        canary_percent: Traffic percentage of the canary. At 0 it runs without traffic.
        previous: URI of the version that was stable before; None if there is none to roll back to.
    """

    stable: str
    canary: str | None = None
    canary_percent: int = 0
    previous: str | None = None

    @property
    def newest(self) -> str:
        """The URI of the canary, or of the stable version if there is no canary."""
        return self.canary or self.stable

    def __str__(self) -> str:
        if self.canary is None:
            return f"version {version_of(self.stable)} at 100 %"
        return (
            f"version {version_of(self.stable)} at {100 - self.canary_percent} %, "
            f"version {version_of(self.canary)} at {self.canary_percent} %"
        )


def check_model_uri(uri: str) -> str:
    """Return the URI of one version if KServe can read it.

    Raises:
        InputError: The scheme is another, or the URI is that of a whole store.
    """
    scheme, _, _ = uri.partition("://")
    if scheme not in SCHEMES:
        raise InputError(
            f"model URI: got {redact_credentials(uri)}, expected s3://, gs:// or pvc://CLAIM/PATH, which KServe can read; "
            "if the store is a mounted PVC, set serving_store to its claim"
        )
    if not version_of(uri).isdigit():
        raise InputError(
            f"model URI: got {redact_credentials(uri)}, expected the URI of one version such as s3://bucket/{MODEL_NAME}/3"
        )
    return uri.rstrip("/")


def version_of(uri: str) -> str:
    """Return the version, the last part of a URI."""
    return uri.rstrip("/").rpartition("/")[2]


def serving_uri(registered: Mapping[str, Any], serving_store: str) -> str:
    """Return the URI at which KServe reads a registered version.

    Args:
        registered: Name, version and URI in the registry.
        serving_store: URI of the store as KServe reads it, such as pvc://claim/models; empty if the registry's URI is the same.
    """
    if serving_store:
        return f"{serving_store.rstrip('/')}/{registered['name']}/{registered['version']}"
    return str(registered["uri"])
