"""The served versions and their traffic percentages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.uris import redact_credentials

SCHEMES = ("s3", "gs", "pvc", "oci+native")
OCI = "oci+native://"
URI_FORMS = "s3://, gs:// or pvc://CLAIM/PATH, or oci+native://IMAGE:VERSION"


@dataclass(frozen=True)
class Rollout:
    """The versions that an InferenceService serves.

    Attributes:
        stable: URI of the stable version, which receives the traffic that the canary does not.
        canary: URI of the canary; None if there is none.
        canary_percent: Traffic percentage of the canary. At 0 it runs without traffic.
        previous: URI of the version that was stable before; None if there is none to roll back to.
        routed_percent: Traffic percentage that the routes in front of the service give the canary; None if nothing has looked.
        digests: URI -> digest of the files of each version whose signature was verified; its pods compare their files with it.
    """

    stable: str
    canary: str | None = None
    canary_percent: int = 0
    previous: str | None = None
    routed_percent: int | None = field(default=None, compare=False)
    digests: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def newest(self) -> str:
        """The URI of the canary, or of the stable version if there is no canary."""
        return self.canary or self.stable

    def __str__(self) -> str:
        if self.canary is None:
            return f"version {version_of(self.stable)} at 100 %"
        percent = self.canary_percent if self.routed_percent is None else self.routed_percent
        served = f"version {version_of(self.stable)} at {100 - percent} %, version {version_of(self.canary)} at {percent} %"
        if percent == self.canary_percent:
            return served
        return f"{served} instead of {self.canary_percent} %: no HTTPRoute splits the traffic; set KServe's enableGatewayApi"


def check_model_uri(uri: str) -> str:
    """Return the URI of one version if KServe can read it.

    Raises:
        InputError: The scheme is another, or the URI is that of a whole store.
    """
    scheme, _, _ = uri.partition("://")
    if scheme not in SCHEMES:
        raise InputError(
            f"model URI: got {redact_credentials(uri)}, expected {URI_FORMS}, which KServe can read; "
            "if the store is a mounted PVC, set serving_store to its claim"
        )
    if not version_of(uri).isdigit():
        raise InputError(
            f"model URI: got {redact_credentials(uri)}, expected the URI of one version such as s3://bucket/{MODEL_NAME}/3"
        )
    return uri.rstrip("/")


def storage_uri(uri: str) -> str:
    """Return the `storageUri` of the version at a URI.

    KServe's S3 client downloads whatever begins with it: without a slash at its end, versions 10 to 19 with version 1. The client
    of gs:// adds one itself, pvc:// mounts a folder, and an image has none.
    """
    return f"{uri}/" if uri.startswith("s3://") else uri


def model_uri(predictor: Mapping[str, Any]) -> str | None:
    """Return the URI of the version in a predictor, or None if it has none. Early services have no slash at its end."""
    return predictor.get("model", {}).get("storageUri", "").rstrip("/") or None


def version_of(uri: str) -> str:
    """Return the version, the last part of a URI, or the tag of a container image."""
    last = uri.rstrip("/").rpartition("/")[2]
    return last.partition("@")[0].rpartition(":")[2] if uri.startswith(OCI) else last


def serving_uri(registered: Mapping[str, Any], serving_store: str) -> str:
    """Return the URI at which KServe reads a registered version.

    Args:
        registered: Name, version and URI in the registry.
        serving_store: URI of the store as KServe reads it, such as pvc://claim/models, or a container image whose tags are the
            versions, such as oci+native://registry.example/team/brain-tumor-model; empty if the registry's URI is the same.
    """
    if serving_store.startswith(OCI):
        return f"{serving_store.rstrip('/')}:{registered['version']}"
    if serving_store:
        return f"{serving_store.rstrip('/')}/{registered['name']}/{registered['version']}"
    return str(registered["uri"])
