"""Signatures by model-signing: who is trusted, and which file is not the signed one."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from brain_tumor.errors import InputError
from brain_tumor.file_digests import FILE_DIGESTS, write_file_digests
from brain_tumor.model_card import MODEL_CARD_PATH
from components.registry import RegisteredVersion
from components.registry.signatures import (
    SIGNING_KEY,
    TRUSTED_KEYS,
    SignatureError,
    read_signing_key,
    read_trusted_keys,
    sign,
    verify,
)
from components.uris import signature_uri
from tests.components.registry.conftest import write_version
from tests.components.registry.keys import key_pair

PRIVATE, PUBLIC = key_pair()
CARD = MODEL_CARD_PATH.as_posix()


@pytest.fixture
def signed(version: RegisteredVersion) -> RegisteredVersion:
    sign(Path(version.uri), version.uri, PRIVATE)
    return version


def model_signing(command: str, model: Path, signature: Path, **key: Path) -> subprocess.CompletedProcess[str]:
    """Run model-signing's own command."""
    ((name, path),) = key.items()
    options = ["--signature", str(signature), f"--{name}", str(path)]
    arguments = [sys.executable, "-m", "model_signing", command, "key", str(model), *options]
    return subprocess.run(arguments, capture_output=True, text=True)


def test_model_signing_itself_verifies_the_signature_beside_the_version(signed: RegisteredVersion, tmp_path: Path) -> None:
    folder, signature, key = Path(signed.uri), Path(signature_uri(signed.uri)), tmp_path / "key.pub"
    key.write_text(PUBLIC)
    assert signature == folder.parent / "signatures" / "3.sig"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["3", "signatures"]
    done = model_signing("verify", folder, signature, public_key=key)
    assert done.returncode == 0, done.stderr
    (folder / "saved_model.pb").write_bytes(b"other")
    done = model_signing("verify", folder, signature, public_key=key)
    assert done.returncode == 1
    assert "Hash mismatch for" in done.stderr
    assert "saved_model.pb" in done.stderr


def test_signature_that_model_signing_made_is_verified_and_hides_no_file(version: RegisteredVersion, tmp_path: Path) -> None:
    key, signature = tmp_path / "key.pem", Path(signature_uri(version.uri))
    key.write_text(PRIVATE)
    signature.parent.mkdir()
    done = model_signing("sign", Path(version.uri), signature, private_key=key)
    assert done.returncode == 0, done.stderr
    assert verify(version, [PUBLIC]) == digest_of(version)
    (Path(version.uri) / ".git").mkdir()  # which model-signing ignores
    (Path(version.uri) / ".git" / "hooks").write_text("x")
    with pytest.raises(SignatureError, match=r"^version 3 was changed after it was signed: \.git/hooks was added$"):
        verify(version, [PUBLIC])


def digest_of(version: RegisteredVersion) -> str:
    return hashlib.sha256((Path(version.uri) / FILE_DIGESTS).read_bytes()).hexdigest()


def test_digest_of_a_verified_version_is_that_of_its_file_list(signed: RegisteredVersion) -> None:
    assert verify(signed, [PUBLIC]) == digest_of(signed)


def test_early_version_without_digests_gets_the_digest_that_they_would_have(version: RegisteredVersion) -> None:
    folder = Path(version.uri)
    expected = digest_of(version)
    (folder / FILE_DIGESTS).unlink()
    sign(folder, version.uri, PRIVATE)
    assert verify(version, [PUBLIC]) == expected


def change(folder: Path) -> None:
    (folder / CARD).write_text((folder / CARD).read_text().replace("0.5", "0.9"))


def change_with_digests(folder: Path) -> None:
    change(folder)
    write_file_digests(folder)


def remove(folder: Path) -> None:
    (folder / "saved_model.pb").unlink()


def add(folder: Path) -> None:
    (folder / "variables" / "custom_op.so").write_bytes(b"x")


def replace_by_folder(folder: Path) -> None:
    (folder / "saved_model.pb").unlink()
    (folder / "saved_model.pb").mkdir()
    (folder / "saved_model.pb" / "x").touch()


def link(folder: Path) -> None:
    shutil.move(folder / "saved_model.pb", folder.parent / "elsewhere")
    (folder / "saved_model.pb").symlink_to(folder.parent / "elsewhere")


def empty_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change, f"{CARD} was changed"),
        (change_with_digests, f"{FILE_DIGESTS} was changed; {CARD} was changed"),
        (remove, "saved_model.pb is missing"),
        (add, "variables/custom_op.so was added"),
        (replace_by_folder, "saved_model.pb is missing; saved_model.pb/x was added"),
        (empty_folder, f"{FILE_DIGESTS} is missing; {CARD} is missing; assets.extra/train.sha256 is missing; "),
    ],
)
def test_file_that_is_not_the_signed_one_is_named(
    signed: RegisteredVersion, damage: Callable[[Path], None], message: str
) -> None:
    damage(Path(signed.uri))
    with pytest.raises(SignatureError) as raised:
        verify(signed, [PUBLIC])
    assert str(raised.value).startswith(f"version 3 was changed after it was signed: {message}")


def test_link_in_place_of_a_signed_file_is_refused(signed: RegisteredVersion) -> None:
    link(Path(signed.uri))
    with pytest.raises(SignatureError, match=r"^version 3 "):
        verify(signed, [PUBLIC])


def test_unsigned_version_is_refused(version: RegisteredVersion) -> None:
    with pytest.raises(SignatureError, match=r"^version 3 is not signed: there is no .*/signatures/3\.sig$"):
        verify(version, [PUBLIC])


def test_several_trusted_keys_let_one_be_replaced(signed: RegisteredVersion) -> None:
    new_private, new = key_pair(ec.SECP384R1())
    with pytest.raises(SignatureError, match=r"^version 3 is not signed by a trusted key"):
        verify(signed, [new])
    assert verify(signed, [new, PUBLIC]) == digest_of(signed)
    sign(Path(signed.uri), signed.uri, new_private)
    assert verify(signed, [PUBLIC, new]) == digest_of(signed)
    with pytest.raises(SignatureError, match=r"^version 3 is not signed by a trusted key"):
        verify(signed, [PUBLIC])


def test_signed_version_in_the_place_of_another_is_refused(signed: RegisteredVersion) -> None:
    folder = Path(signed.uri)
    other = RegisteredVersion(signed.name, 4, str(shutil.copytree(folder, folder.with_name("4"))))
    shutil.copy(signature_uri(signed.uri), signature_uri(other.uri))
    with pytest.raises(SignatureError, match=r"^version 4 has the signed files of version 3$"):
        verify(other, [PUBLIC])


def forge(bundle: dict) -> dict:
    """Exchange the signed list for that of other files, and keep the signature."""
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"][0]["digest"] = "00" * 32
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    return bundle | {"dsseEnvelope": bundle["dsseEnvelope"] | {"payload": payload}}


@pytest.mark.parametrize(
    "damage",
    [
        lambda bundle: json.dumps(forge(bundle)),
        lambda bundle: json.dumps(bundle)[:-20],
        lambda bundle: json.dumps(bundle | {"dsseEnvelope": {}}),
        lambda bundle: json.dumps(bundle | {"dsseEnvelope": bundle["dsseEnvelope"] | {"signatures": []}}),
        lambda bundle: json.dumps(bundle | {"verificationMaterial": {}}),
        lambda bundle: json.dumps(bundle | {"mediaType": "Signature mismatch"}),
        lambda bundle: "[]",
        lambda bundle: "Signature mismatch",
        lambda bundle: "",
        lambda bundle: "\x00\ud800",
    ],
)
def test_damaged_signature_is_refused(signed: RegisteredVersion, damage: Callable[[dict], str]) -> None:
    path = Path(signature_uri(signed.uri))
    path.write_text(damage(json.loads(path.read_text())), errors="surrogatepass")
    with pytest.raises(SignatureError, match=r"^version 3 is not signed by a trusted key, or its signature is damaged$"):
        verify(signed, [PUBLIC])


def test_signature_in_object_storage_lies_beside_the_version(version: RegisteredVersion) -> None:
    files = fsspec.filesystem("memory")
    stored = RegisteredVersion(version.name, 3, "memory://signed/brain-tumor/3")
    files.put(version.uri, "/signed/brain-tumor/3", recursive=True)
    with pytest.raises(
        SignatureError, match=r"version 3 is not signed: there is no memory://signed/brain-tumor/signatures/3\.sig"
    ):
        verify(stored, [PUBLIC])
    sign(Path(version.uri), stored.uri, PRIVATE)
    assert verify(stored, [PUBLIC]) == digest_of(version)
    files.pipe_file("/signed/brain-tumor/3/saved_model.pb", b"other")
    with pytest.raises(SignatureError, match=r"saved_model\.pb was changed$"):
        verify(stored, [PUBLIC])


def test_keys_are_text_or_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SIGNING_KEY, raising=False)
    monkeypatch.delenv(TRUSTED_KEYS, raising=False)
    assert (read_signing_key(), read_trusted_keys()) == ("", [])
    second = key_pair()[1]
    for text in (PUBLIC + second, f"# old\n{PUBLIC}\n# new\n{second}"):
        monkeypatch.setenv(TRUSTED_KEYS, text)
        assert read_trusted_keys() == [PUBLIC.strip(), second.strip()]
    (tmp_path / "key.pem").write_text(PRIVATE)
    for value in (PRIVATE, str(tmp_path / "key.pem")):
        monkeypatch.setenv(SIGNING_KEY, value)
        assert read_signing_key() == PRIVATE.strip()


def encrypted() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")).decode()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (SIGNING_KEY, "/nowhere/key.pem", "expected PEM text or the path of a PEM file: No such file or directory"),
        (SIGNING_KEY, "MHcCAQEEIsecret" * 40, "expected PEM text or the path of a PEM file: File name too long"),
        (SIGNING_KEY, encrypted(), "expected a PEM key on P-256, P-384 or P-521 without a password"),
        (SIGNING_KEY, key_pair(ec.SECP256K1())[0], "Unsupported key for curve 'secp256k1'"),
        (SIGNING_KEY, PUBLIC, "expected a PEM key"),
        (TRUSTED_KEYS, PRIVATE, "got no PEM public key, expected at least one"),
        (TRUSTED_KEYS, "/nowhere", "expected PEM text or the path of a PEM file"),
        (TRUSTED_KEYS, f"{PUBLIC}\n{key_pair(ec.SECP256K1())[1]}", "key 2: Unsupported key for curve 'secp256k1'"),
    ],
)
def test_unusable_key_is_named_and_not_shown(variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError) as raised:
        read_signing_key() if variable == SIGNING_KEY else read_trusted_keys()
    assert str(raised.value).startswith(f"{variable}: ")
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


def test_version_that_cannot_be_signed_leaves_no_signature(tmp_path: Path) -> None:
    folder = write_version(tmp_path / "brain-tumor" / "3")
    (folder / "link").symlink_to("saved_model.pb")
    with pytest.raises(InputError, match="cannot sign"):
        sign(folder, str(folder), PRIVATE)
    assert not Path(signature_uri(str(folder))).exists()
