"""Verify who signed a version before it is served."""

import sys

from brain_tumor.model_card import MODEL_NAME
from components.deploy.rollout import OCI, check_model_uri, version_of
from components.registry import RegisteredVersion
from components.registry.signatures import TRUSTED_KEYS, SignatureError, read_trusted_keys, verify
from components.uris import redact_credentials

UNREADABLE = ("pvc://", OCI)  # by others than KServe


def version_at(uri: str) -> RegisteredVersion:
    """Return the version at a URI that KServe can read.

    Raises:
        InputError: See `check_model_uri`.
    """
    return RegisteredVersion(MODEL_NAME, int(version_of(check_model_uri(uri))), uri.rstrip("/"))


def verify_signature(registered: RegisteredVersion, *, allow_unsigned: bool) -> tuple[str | None, str]:
    """Verify the signature of a version with the keys in MODEL_TRUSTED_KEYS.

    Args:
        registered: The version in the model store.
        allow_unsigned: Whether a version that is not signed, or was changed after it was signed, may be served.

    Returns:
        The digest of the signed files: None without a trusted key, empty for an allowed unsigned version. And a remark for the
        line on what is served.

    Raises:
        SignatureError: The version is not signed by a trusted key, was changed, or cannot be read here.
    """
    keys, version = read_trusted_keys(), f"version {registered.version}"
    if not keys:
        return None, f"; the signature of {version} was not verified: {TRUSTED_KEYS} names no trusted key"
    try:
        if registered.uri.startswith(UNREADABLE):
            raise SignatureError(
                f"{version} at {redact_credentials(registered.uri)} cannot be read here to verify its signature; deploy the "
                "registry's version, with --serving-store for what KServe reads"
            )
        return verify(registered, keys), f"; the signature of {version} was verified"
    except SignatureError as error:
        if not allow_unsigned:
            raise
        print(f"deploy: {error}; allowed by --allow-unsigned", file=sys.stderr, flush=True)
        return "", f"; {version} is not signed, as allowed"
