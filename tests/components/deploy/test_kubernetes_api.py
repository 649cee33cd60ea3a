"""Rejections of the API server, each reported in one sentence."""

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes.config import incluster_config

from components.deploy.deploy import deploy
from components.deploy.kubernetes_api import InferenceServiceClient, KubernetesError
from components.deploy.waiting import RolloutError
from tests.components.deploy.api_server import NAMESPACE, TOKEN, USER, ApiServer, api_server
from tests.components.deploy.test_deploy import SIMULATED, V1, V2
from tests.crds import require_crds


@pytest.mark.parametrize(
    ("verb", "resource"), [("get", "inferenceservices"), ("patch", "inferenceservices"), ("create", "services/proxy")]
)
def test_forbidden_request_names_user_verb_and_resource(
    server: ApiServer, client: InferenceServiceClient, verb: str, resource: str
) -> None:
    server.forbid(verb, resource)
    with pytest.raises(KubernetesError if resource == "inferenceservices" else RolloutError) as caught:
        deploy(client, V1, canary_percent=10)
    assert str(caught.value).startswith(
        f"{USER} may not {verb} {resource} in namespace clinic: bind a Role that has this verb on this resource"
    )


def test_canary_that_may_not_be_called_is_rolled_back(server: ApiServer, client: InferenceServiceClient) -> None:
    deploy(client, V1, canary_percent=10)
    server.forbid("create", "services/proxy")
    with pytest.raises(RolloutError, match=r"may not create services/proxy .*; rolled back to version 1 at 100 %"):
        deploy(client, V2, canary_percent=10)
    assert server.settle() == [{"1": 100}]
    assert not server.service()["spec"].get("canary")


@SIMULATED
def test_missing_kserve_is_reported(server: ApiServer, client: InferenceServiceClient) -> None:
    server.has_kserve = False
    with pytest.raises(
        KubernetesError, match=r"^the cluster has no resource inferenceservices.serving.kserve.io/v1beta1: KServe is not"
    ):
        deploy(client, V1, canary_percent=10)


def test_rejected_token_is_reported(server: ApiServer, kubeconfig: Path) -> None:
    kubeconfig.write_text(kubeconfig.read_text().replace(server.token, "expired"))
    with pytest.raises(KubernetesError, match=r"^cannot read the InferenceService brain-tumor in namespace clinic: 401: Unauth"):
        deploy(InferenceServiceClient(NAMESPACE), V1, canary_percent=10)


def test_missing_service_account_and_kubeconfig_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(KubernetesError, match=r"^no access to a cluster: expected a pod's ServiceAccount or KUBECONFIG: "):
        InferenceServiceClient(NAMESPACE)


def test_invalid_namespace_is_rejected() -> None:
    with pytest.raises(KubernetesError, match="namespace: got 'Clinic/a', expected lower-case letters, digits and `-`"):
        InferenceServiceClient("Clinic/a")


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a pod's ServiceAccount, with the CA of an API server at 127.0.0.1."""
    for name, file in {"SERVICE_TOKEN_FILENAME": "token", "SERVICE_CERT_FILENAME": "ca.crt"}.items():
        monkeypatch.setattr(incluster_config, name, str(tmp_path / file))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    (tmp_path / "token").write_text(TOKEN)
    write_certificate(tmp_path / "ca.crt", tmp_path / "key")
    return tmp_path


def write_certificate(certificate: Path, key: Path) -> None:
    """Write a self-signed certificate for 127.0.0.1, and its key."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, secret.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(secret, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key.write_bytes(secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))


def test_pod_uses_its_service_account(pod: Path, backends: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    require_crds()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pod / "ca.crt", pod / "key")
    with api_server(context) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.host.rpartition(":")[2])
        server.backends = dict(backends)
        assert str(deploy(InferenceServiceClient(NAMESPACE), V1, canary_percent=10)) == "version 1 at 100 %"
        write_certificate(pod / "ca.crt", pod / "other-key")
        with pytest.raises(KubernetesError, match=r"^the API server at https://127.0.0.1:\d+ is unreachable: "):
            InferenceServiceClient(NAMESPACE).get()
