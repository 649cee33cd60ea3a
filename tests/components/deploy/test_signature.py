"""Who signed a version is verified before it is deployed, and its pods get the digest of the signed files."""

import re
from pathlib import Path
from typing import Any

import pytest

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components.deploy.component import deploy as component
from components.deploy.deploy import deploy, promote, roll_back
from components.deploy.inferenceservice import STANDARD
from components.deploy.kubernetes_api import InferenceServiceClient
from components.deploy.rollout import check_model_uri, version_of
from components.deploy.signature import verify_signature, version_at
from components.registry import RegisteredVersion
from components.registry.signatures import TRUSTED_KEYS, SignatureError, sign
from tests.components.deploy.api_server import ApiServer
from tests.components.deploy.test_commands import registered
from tests.components.deploy.test_deploy import MODES, V1, V2, V3, predictor
from tests.components.registry.conftest import write_version
from tests.components.registry.keys import key_pair

PRIVATE, PUBLIC = key_pair()
ONE, TWO, THREE = (digit * 64 for digit in "123")
DIGEST = "brain-tumor/model-digest"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model store with two signed versions, and the trusted key."""
    folder = tmp_path / "store" / MODEL_NAME
    for version in (1, 2):
        version_folder = write_version(folder / str(version), version=version)
        sign(version_folder, str(version_folder), PRIVATE)
    monkeypatch.setenv(TRUSTED_KEYS, PUBLIC)
    return folder


def digests(server: ApiServer) -> list[str | None]:
    """Return the digest that the pods of the predictor get, then that of the canary's."""
    canaries = [each["predictor"] for each in server.service()["spec"].get("canary") or []]
    return [each.get("annotations", {}).get(DIGEST) for each in (predictor(server), *canaries)]


def step(folder: Path, version: int, *, allow_unsigned: bool = False) -> None:
    """Run the pipeline's step; KServe reads the versions from a volume."""
    component.python_func(
        registered(folder.parent, str(folder / str(version))),
        namespace="clinic",
        canary_percent=100,
        deployment_mode="Standard",
        serving_store="pvc://models",
        allow_unsigned=allow_unsigned,
        serving_image="registry/serving:1",
    )


def test_step_verifies_the_registered_version_and_gives_its_digest_to_the_pods(
    server: ApiServer, client: InferenceServiceClient, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest, remark = verify_signature(RegisteredVersion(MODEL_NAME, 1, str(store / "1")), allow_unsigned=False)
    step(store, 1)
    assert digests(server) == [digest]
    assert remark == "; the signature of version 1 was verified"
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"serves version 1 at 100 %{remark}")


def test_changed_or_unsigned_version_is_refused_before_anything_is_applied(
    server: ApiServer, client: InferenceServiceClient, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / "1" / "saved_model.pb").write_bytes(b"other")
    (store / "signatures" / "2.sig").unlink()
    changed = "version 1 was changed after it was signed: saved_model.pb was changed"
    with pytest.raises(SystemExit, match=f"^deploy: error: {re.escape(changed)}$"):
        step(store, 1)
    with pytest.raises(SystemExit, match=r"^deploy: error: version 2 is not signed: there is no "):
        step(store, 2)
    assert client.get() is None
    step(store, 1, allow_unsigned=True)
    assert digests(server) == [None]
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].endswith("serves version 1 at 100 %; version 1 is not signed, as allowed")
    assert printed.err == f"deploy: {changed}; allowed by --allow-unsigned\n"


def test_version_on_a_volume_or_in_an_image_cannot_be_verified_there(store: Path) -> None:
    for uri in ("pvc://models/brain-tumor/1", "oci+native://registry.example/model:1"):
        with pytest.raises(SignatureError, match=r"^version 1 at .* cannot be read here to verify its signature"):
            verify_signature(version_at(uri), allow_unsigned=False)


@MODES
def test_digest_follows_its_version(server: ApiServer, client: InferenceServiceClient, mode: str) -> None:
    deploy(client, V1, canary_percent=10, digest=ONE, mode=mode)
    assert digests(server) == [ONE]
    deploy(client, V2, canary_percent=10, digest=TWO, mode=mode)
    assert digests(server) == ([ONE, TWO] if mode == STANDARD else [TWO])
    assert promote(client).digests == {V1: ONE, V2: TWO}
    assert digests(server) == [TWO]
    roll_back(client)
    assert digests(server) == [ONE]
    deploy(client, V3, canary_percent=10, digest=THREE, mode=mode)
    roll_back(client)
    assert digests(server) == [ONE]


@MODES
def test_unsigned_version_beside_a_verified_one_gets_none_of_its_digest(
    server: ApiServer, client: InferenceServiceClient, mode: str
) -> None:
    deploy(client, V1, canary_percent=10, digest=ONE, mode=mode)
    deploy(client, V2, canary_percent=10, digest="", mode=mode)
    assert digests(server) == ([ONE, "unverified"] if mode == STANDARD else ["unverified"])
    if mode == STANDARD:
        assert server.controller.restarts == 0
    promote(client)
    assert digests(server) == ["unverified"]
    roll_back(client)
    assert digests(server) == [ONE]


@MODES
def test_first_signature_restarts_no_pod_of_the_stable_version(
    server: ApiServer, client: InferenceServiceClient, mode: str
) -> None:
    deploy(client, V1, canary_percent=10, mode=mode)
    deploy(client, V2, canary_percent=10, digest=TWO, mode=mode)
    assert digests(server) == ([None, TWO] if mode == STANDARD else [TWO])
    if mode == STANDARD:
        assert server.controller.restarts == 0
    roll_back(client)
    if mode == STANDARD:
        assert server.controller.restarts == 0
        assert digests(server) == [None]
    else:
        assert digests(server) in ([None], ["unverified"])


@MODES
def test_served_version_gets_its_digest_and_keeps_it_without_a_trusted_key(
    server: ApiServer, client: InferenceServiceClient, mode: str
) -> None:
    deploy(client, V1, canary_percent=10, mode=mode)
    for digest, expected in ((ONE, [ONE]), (None, [ONE]), ("", ["unverified"]), (TWO, [TWO])):
        deploy(client, V1, canary_percent=10, digest=digest, mode=mode)
        assert digests(server) == expected


def test_digest_is_no_field_of_somebody_else(server: ApiServer, client: InferenceServiceClient) -> None:
    deploy(client, V1, canary_percent=10, digest=ONE)
    service: dict[str, Any] = server.service()
    document = {key: service[key] for key in ("apiVersion", "kind")} | {"metadata": {"name": MODEL_NAME}}
    containers = service["spec"]["predictor"]["containers"]
    server.apply(document | {"spec": {"predictor": {"containers": containers}}}, "kubectl")
    deploy(client, V2, canary_percent=100, digest=TWO)
    assert digests(server) == [TWO]


def test_tag_of_a_container_image_is_the_version() -> None:
    for uri in ("oci+native://registry.example:5000/team/model:12", f"oci+native://registry.example/model:12@sha256:{ONE}"):
        assert version_of(check_model_uri(uri)) == "12"
    for uri in (
        "oci+native://registry.example/model",
        "oci+native://registry.example/model:latest",
        "oci://registry.example/model:1",
    ):
        with pytest.raises(InputError, match="model URI: got oci"):
            check_model_uri(uri)
