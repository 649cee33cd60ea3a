"""The signature of a version: made and verified by model-signing, kept beside the version in the model store.

https://github.com/sigstore/model-transparency. It signs the SHA-256 of every file, in the format of Sigstore's bundles.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from brain_tumor.errors import InputError
from brain_tumor.file_digests import FILE_DIGESTS, hash_files, model_digest
from brain_tumor.model_card import read_model_card
from components.files import atomic_write
from components.registry import RegisteredVersion, local_copy
from components.registry_file import as_input_error
from components.uris import is_local_path, redact_credentials, signature_uri

# Environment variables. The value is PEM text, as from a Secret, or the path of a PEM file.
SIGNING_KEY, TRUSTED_KEYS = "MODEL_SIGNING_KEY", "MODEL_TRUSTED_KEYS"
PUBLIC_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)
MAX_NAMED = 10


class SignatureError(InputError):
    """A version is not signed, not by a trusted key, or was changed after it was signed. The message names the version."""


def read_signing_key() -> str:
    """Return the private key that register signs with, as PEM text; empty without one.

    Raises:
        InputError: The variable has neither PEM text nor the path of a file, or model-signing does not take the key.
    """
    if key := _read_pem(SIGNING_KEY):
        with as_input_error(SIGNING_KEY):
            _signer(key)
    return key


def read_trusted_keys() -> list[str]:
    """Return the public keys whose signatures deploy accepts, each as PEM text; several while a key is replaced by a new one.

    Raises:
        InputError: The variable has neither public keys nor the path of a file with them, or model-signing does not take one.
    """
    text = _read_pem(TRUSTED_KEYS)
    keys = PUBLIC_KEY.findall(text)
    if text and not keys:
        raise InputError(f"{TRUSTED_KEYS}: got no PEM public key, expected at least one")
    with as_input_error(TRUSTED_KEYS):
        for number, key in enumerate(keys, 1):
            _verifier(key, f"{TRUSTED_KEYS}: key {number}")
    return keys


def sign(model_dir: Path, uri: str, key: str) -> None:
    """Sign the files of a version and store the signature.

    Args:
        model_dir: Folder with the version's files.
        uri: The version's URI in the model store.
        key: See `read_signing_key`.

    Raises:
        InputError: A file cannot be read, or the store cannot be written.
    """
    from model_signing import hashing

    with tempfile.TemporaryDirectory() as scratch, as_input_error(f"cannot sign {redact_credentials(uri)}"):
        path = Path(scratch) / "model.sig"
        every_file = hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)
        _signer(key).set_hashing_config(every_file).sign(model_dir, path)
        _store(path.read_bytes(), signature_uri(uri))


def verify(registered: RegisteredVersion, keys: list[str]) -> str:
    """Verify that a version has exactly the files that one of the keys has signed, and return their `model_digest`.

    Raises:
        SignatureError: It has no signature, another key's, or one of other files or of another version.
        InputError: The store cannot be read.
    """
    name = f"version {registered.version}"
    with tempfile.TemporaryDirectory() as scratch, local_copy(registered) as model_dir:
        signature = Path(scratch) / "model.sig"
        signature.write_bytes(_fetch(registered))
        errors = [_error(key, model_dir, signature) for key in keys]
        if not any(error is None or error.startswith("Signature mismatch") for error in errors):
            raise SignatureError(f"{name} is not signed by a trusted key, or its signature is damaged")
        signed = _signed_files(signature, name)
        _compare(signed, model_dir, name)
        if None not in errors:
            raise SignatureError(f"{name} was changed after it was signed")
        card = read_model_card(model_dir)
    if card.version != str(registered.version):
        raise SignatureError(f"{name} has the signed files of version {card.version}")
    signed.pop(FILE_DIGESTS.as_posix(), None)
    return model_digest(signed)


def _error(key: str, model_dir: Path, signature: Path) -> str | None:
    """Return why model-signing rejects a signature; None if it does not."""
    try:
        _verifier(key, TRUSTED_KEYS).verify(model_dir, signature)
    except Exception as error:  # a damaged signature raises nearly anything
        return str(error)
    return None


def _signed_files(signature: Path, name: str) -> dict[str, str]:
    """Return the digest of each file that a signature, which has been verified, is for."""
    payload = json.loads(base64.b64decode(json.loads(signature.read_bytes())["dsseEnvelope"]["payload"]))
    resources = payload.get("predicate", {}).get("resources", [])
    if not resources or any(each["algorithm"] != "sha256" for each in resources):
        raise SignatureError(f"{name}: expected a signature of the SHA-256 of each file")
    return {each["name"]: each["digest"] for each in resources}


def _compare(signed: dict[str, str], model_dir: Path, name: str) -> None:
    """Compare the files of a version with the signed ones. model-signing ignores those that the signature says to ignore.

    Raises:
        SignatureError: A file was changed, removed or added.
    """
    try:
        found = hash_files(model_dir)
    except InputError as error:
        raise SignatureError(f"{name} was changed after it was signed: {error}") from error
    digests = model_dir / FILE_DIGESTS
    if digests.is_file():
        found[FILE_DIGESTS.as_posix()] = hashlib.sha256(digests.read_bytes()).hexdigest()
    problems = [
        f"{path} {'is missing' if path not in found else 'was added' if path not in signed else 'was changed'}"
        for path in sorted(signed.keys() | found.keys())
        if signed.get(path) != found.get(path)
    ]
    if problems:
        more = f"; {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
        raise SignatureError(f"{name} was changed after it was signed: {'; '.join(problems[:MAX_NAMED])}{more}")


def _fetch(registered: RegisteredVersion) -> bytes:
    """Return the signature of a version."""
    uri = signature_uri(registered.uri)
    unsigned = SignatureError(f"version {registered.version} is not signed: there is no {redact_credentials(uri)}")
    with as_input_error(f"the signature {redact_credentials(uri)} cannot be read"):
        try:
            if is_local_path(uri):
                return Path(uri).read_bytes()
            import fsspec

            files, path = fsspec.core.url_to_fs(uri)
            return bytes(files.cat_file(path))
        except FileNotFoundError:
            raise unsigned from None


def _store(signature: bytes, uri: str) -> None:
    if is_local_path(uri):
        with atomic_write(Path(uri)) as partial:
            partial.write_bytes(signature)
        return
    import fsspec

    files, path = fsspec.core.url_to_fs(uri)
    files.pipe_file(path, signature)


def _signer(key: str) -> Any:
    """Return model-signing's configuration of a private key, which it reads from a file."""
    from model_signing import signing

    with _key_file(key, SIGNING_KEY) as path:
        return signing.Config().use_elliptic_key_signer(private_key=path)


def _verifier(key: str, name: str) -> Any:
    """Return model-signing's configuration of a public key."""
    from model_signing import verifying

    with _key_file(key, name) as path:
        return verifying.Config().use_elliptic_key_verifier(public_key=path)


@contextlib.contextmanager
def _key_file(key: str, name: str) -> Iterator[Path]:
    """Yield a file, which only this user can read, with a key.

    Raises:
        InputError: The key cannot be used. The message has no part of it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "key.pem"
        path.write_text(f"{key}\n")
        try:
            yield path
        except Exception as error:  # cryptography raises nearly anything
            expected = "expected a PEM key on P-256, P-384 or P-521 without a password"
            raise InputError(
                f"{name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}; {expected}"
            ) from error


def _read_pem(variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value or "-----BEGIN" in value:
        return value
    try:
        return Path(value).read_text().strip()
    except (OSError, ValueError) as error:  # the value, which may be a key, is not shown
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise InputError(f"{variable}: expected PEM text or the path of a PEM file: {reason}") from None
