"""A version in S3 as KServe's own storage initializer downloads it from a real S3 server, beside versions 10 and 11."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from brain_tumor.file_digests import DamagedModelError, check_file_digests, check_model_digest, hash_files
from brain_tumor.model_card import MODEL_NAME
from components.deploy import inferenceservice
from components.deploy.deploy import deploy, promote, roll_back
from components.deploy.inferenceservice import STANDARD, new_service
from components.deploy.kubernetes_api import InferenceServiceClient
from components.deploy.rollout import Rollout, storage_uri
from components.deploy.signature import verify_signature, version_at
from components.register.register import _upload
from components.registry.signatures import TRUSTED_KEYS, sign
from tests.components.deploy.api_server import ApiServer
from tests.components.deploy.test_deploy import MODES, V1, V2, V3, predictor
from tests.components.registry.conftest import write_version
from tests.components.registry.keys import key_pair
from tests.tools import KSERVE_STORAGE, LOCK, require_folder

PRIVATE, PUBLIC = key_pair()
ONE, TWO = "1" * 64, "2" * 64
STORE = f"s3://models/{MODEL_NAME}"
DOWNLOAD = "import sys; from kserve_storage import Storage; Storage.download(*sys.argv[1:])"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Signed versions 1, 10 and 11 in S3; the folder that version 1 was uploaded from."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server, folder = ThreadedMotoServer("127.0.0.1", 0, verbose=False), tmp_path_factory.mktemp("store")
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            (TRUSTED_KEYS, PUBLIC),
        ):
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("models")
        for number in (1, 10, 11):
            sign(write_version(folder / str(number), version=number), f"{STORE}/{number}", PRIVATE)
            _upload(folder / str(number), f"{STORE}/{number}")
        yield folder / "1"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def download(storage_uri: str, target: Path) -> Path:
    """Download as KServe's init container does."""
    python_path = os.pathsep.join([str(require_folder(KSERVE_STORAGE)), *sys.path])
    command = [sys.executable, "-c", DOWNLOAD, storage_uri, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": python_path})
    assert done.returncode == 0, done.stderr
    return target


def test_pods_get_the_files_of_their_version_alone(first: Path, tmp_path: Path) -> None:
    digest, _ = verify_signature(version_at(f"{STORE}/1"), allow_unsigned=False)
    assert digest
    service = new_service(f"{STORE}/1", mode=STANDARD, image="registry/serving:1", digest=digest)
    models = download(service["spec"]["predictor"]["model"]["storageUri"], tmp_path / "models")
    assert hash_files(models) == hash_files(first)
    assert check_file_digests(models, "the download") == 4
    check_model_digest(models, digest, "the download")


def test_without_a_slash_the_files_of_others_are_among_them(first: Path, tmp_path: Path) -> None:
    models = download(f"{STORE}/{first.name}", tmp_path / "models")
    with pytest.raises(DamagedModelError, match=r"^the download is damaged: 0/assets\.extra/.* was added; .*1/.* was added"):
        check_file_digests(models, "the download")


def test_empty_file_is_left_out(first: Path, tmp_path: Path) -> None:
    """So register refuses one."""
    import s3fs

    files = s3fs.S3FileSystem()
    for name, content in (("saved_model.pb", b"graph"), ("assets/empty.txt", b"")):
        files.pipe_file(f"models/with-an-empty-file/1/{name}", content)
    models = download("s3://models/with-an-empty-file/1/", tmp_path / "models")
    assert list(hash_files(models)) == ["saved_model.pb"]


def test_storage_initializer_is_of_the_version_of_kserve() -> None:
    assert f"kserve-storage=={version('kserve')} " in LOCK.read_text()


def test_only_an_address_in_s3_gets_a_slash() -> None:
    assert storage_uri(V1) == f"{V1}/"
    for uri in ("gs://models/brain-tumor/1", "pvc://models/brain-tumor/1", "oci+native://registry.example/model:1"):
        assert storage_uri(uri) == uri


@pytest.fixture
def early_service(server: ApiServer, client: InferenceServiceClient, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service with a canary as an early version of the deploy step left it: its addresses have no slash."""
    monkeypatch.setattr(inferenceservice, "storage_uri", str)
    deploy(client, V1, canary_percent=10, digest=ONE, mode=mode)
    deploy(client, V2, canary_percent=10, digest=TWO, mode=mode)
    monkeypatch.undo()
    assert predictor(server)["model"]["storageUri"] == (V1 if mode == STANDARD else V2)


@MODES
@pytest.mark.usefixtures("early_service")
def test_canary_of_an_early_version_is_promoted_and_rolled_back(
    server: ApiServer, client: InferenceServiceClient, mode: str
) -> None:
    assert promote(client) == Rollout(V2, previous=V1)
    assert predictor(server)["model"]["storageUri"] == f"{V2}/"
    assert roll_back(client) == Rollout(V1)
    assert predictor(server)["model"]["storageUri"] == f"{V1}/"
    assert predictor(server)["annotations"]["brain-tumor/model-digest"] == ONE
    assert server.settle() == [{"1": 100}, {"1": 90, "2": 10}, {"2": 100}, {"1": 100}]


@MODES
@pytest.mark.usefixtures("early_service")
def test_same_versions_of_an_early_service_are_no_change_but_of_the_address(
    server: ApiServer, client: InferenceServiceClient, mode: str
) -> None:
    assert deploy(client, V2, canary_percent=10) == Rollout(V1, V2, 10)
    generation = server.generation
    assert deploy(client, V2, canary_percent=10) == Rollout(V1, V2, 10)
    assert server.generation == generation
    assert predictor(server)["model"]["storageUri"] == (f"{V1}/" if mode == STANDARD else f"{V2}/")
    assert server.settle() == [{"1": 100}, {"1": 90, "2": 10}]
    assert roll_back(client).digests[V1] == ONE
    assert deploy(client, V3, canary_percent=10) == Rollout(V1, V3, 10)
