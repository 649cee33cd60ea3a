"""A real control plane on this machine: etcd, kube-apiserver and kube-controller-manager, or the cluster of KUBECONFIG."""

import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from kubernetes import config
from kubernetes.client import Configuration

from tests.crds import FOLDER
from tests.serving.processes import free_ports

BINARIES = Path(__file__).parent / "kubernetes" / "bin"
CONTROLLERS = ("deployment", "replicaset", "namespace", "serviceaccount", "resourcequota", "garbage-collector")
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# Kind -> group of the custom resources of our manifests and chart.
CUSTOM = {
    "InferenceService": "serving.kserve.io",
    "ServingRuntime": "serving.kserve.io",
    "PodMonitor": "monitoring.coreos.com",
    "ServiceMonitor": "monitoring.coreos.com",
    "PrometheusRule": "monitoring.coreos.com",
    "HTTPRoute": "gateway.networking.k8s.io",
}


@dataclass
class ControlPlane:
    """A client of the API server with all permissions.

    Attributes:
        host: URL of the API server.
        ca: File with the certificate that signed the API server's.
        kubeconfig: File for kubectl.
        has_kserve: Whether KServe runs in the cluster.
    """

    host: str
    ca: Path
    kubeconfig: Path
    client: httpx.Client
    has_kserve: bool = False

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str) -> Any:
        """Return the body of a response.

        Raises:
            httpx.HTTPStatusError: The API server rejects the request.
        """
        content = None if body is None else json.dumps(body)
        response = self.client.request(method, path, content=content, params=query, headers={"Content-Type": content_type})
        if response.is_error:
            raise httpx.HTTPStatusError(response.text, request=response.request, response=response)
        return response.json()

    def find(self, path: str) -> Any:
        """Return an object, or None if there is none."""
        try:
            return self.request("GET", path)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return None
            raise

    def apply(self, path: str, document: Any, manager: str = "test") -> Any:
        """Apply an object server-side, with force."""
        return self.request("PATCH", path, document, APPLY, fieldManager=manager, force="true", fieldValidation="Strict")

    def delete(self, path: str) -> None:
        """Delete an object, or all of a collection."""
        if self.find(path) is not None:
            self.request("DELETE", path, {"propagationPolicy": "Background", "gracePeriodSeconds": 0})

    def token(self, namespace: str, account: str) -> str:
        """Return a token of a ServiceAccount."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        return str(self.request("POST", path, request)["status"]["token"])


def missing_programs() -> list[str]:
    """Return the programs that are not there."""
    built = [name for name in ("kube-apiserver", "kube-controller-manager") if not (BINARIES / name).exists()]
    return built + ([] if shutil.which("etcd") else ["etcd"])


@contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Start a control plane whose files are in `folder`, with the custom resources of our manifests."""
    with ExitStack() as stack:
        etcd, peer, port = free_ports(3)
        key, tokens, admin = folder / "service-account.key", folder / "tokens.csv", secrets.token_hex()
        _write_key(key)
        tokens.write_text(f'{admin},admin,admin,"system:masters"\n')
        urls = {"listen-client": etcd, "advertise-client": etcd, "listen-peer": peer, "initial-advertise-peer": peer}
        flags = [f"--{name}-urls=http://127.0.0.1:{number}" for name, number in urls.items()]
        cluster = f"--initial-cluster=default=http://127.0.0.1:{peer}"
        stack.enter_context(_running(folder, "etcd", f"--data-dir={folder}/etcd", cluster, *flags))
        stack.enter_context(
            _running(
                folder,
                str(BINARIES / "kube-apiserver"),
                f"--etcd-servers=http://127.0.0.1:{etcd}",
                f"--cert-dir={folder}",
                f"--secure-port={port}",
                "--bind-address=127.0.0.1",
                f"--service-account-key-file={key}",
                f"--service-account-signing-key-file={key}",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.0.0.0/16",
                "--authorization-mode=RBAC",
                f"--token-auth-file={tokens}",
            )
        )
        host, ca = f"https://127.0.0.1:{port}", folder / "apiserver.crt"
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(kubeconfig_of(host, ca, admin))
        _wait_for(ca.exists)
        headers = {"Authorization": f"Bearer {admin}"}
        context = ssl.create_default_context(cafile=str(ca))
        client = stack.enter_context(httpx.Client(base_url=host, headers=headers, verify=context, timeout=60))
        _wait_for(lambda: client.get("/readyz").status_code == 200)
        enabled = ",".join(f"{name}-controller" for name in CONTROLLERS)
        certificate = f"--root-ca-file={ca}"
        signing = f"--service-account-private-key-file={key}"
        manager = str(BINARIES / "kube-controller-manager")
        stack.enter_context(
            _running(
                folder, manager, f"--kubeconfig={kubeconfig}", signing, certificate, f"--controllers={enabled}", "--secure-port=0"
            )
        )
        plane = ControlPlane(host, ca, kubeconfig, client)
        install_crds(plane)
        yield plane


@contextmanager
def existing_cluster(kubeconfig: Path) -> Iterator[ControlPlane]:
    """Use the cluster of a kubeconfig, with its own custom resources and controllers."""
    settings = Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=settings)
    context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    token = settings.get_api_key_with_prefix("authorization")
    headers = {"Authorization": token} if token else {}
    with httpx.Client(base_url=settings.host, headers=headers, verify=context, timeout=60) as client:
        yield ControlPlane(settings.host, Path(settings.ssl_ca_cert), kubeconfig, client, has_kserve=True)


def install_crds(plane: ControlPlane) -> None:
    """Define the custom resources from the schemas in the folder CRDS, and wait until they are served."""
    for kind, group in CUSTOM.items():
        files = sorted(FOLDER.glob(f"{kind.lower()}-{group.split('.')[0]}-*.json"))
        _install_crd(plane, kind, group, {file.stem.rpartition("-")[2]: json.loads(file.read_text()) for file in files})
    # Our manifests contain none; the deploy step asks whether there is one.
    _install_crd(plane, "Service", "serving.knative.dev", {"v1": {"type": "object"}})


def _install_crd(plane: ControlPlane, kind: str, group: str, schemas: dict[str, Any]) -> None:
    plural = f"{kind.lower()}s"
    newest = min(schemas)  # v1 is newer than v1beta1
    versions = [
        {
            "name": name,
            "served": True,
            "storage": name == newest,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
        }
        for name, schema in schemas.items()
    ]
    spec = {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural}, "versions": versions}
    # The API server asks whether somebody approved an API of a group that belongs to Kubernetes.
    annotations = {"api-approved.kubernetes.io": "unapproved, a test"} if group.endswith(".k8s.io") else {}
    metadata = {"name": f"{plural}.{group}", "annotations": annotations}
    document = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata, "spec": spec}
    plane.apply(f"{CRDS}/{metadata['name']}", document)
    for name in schemas:
        _wait_for(lambda url=f"/apis/{group}/{name}/{plural}": plane.find(url) is not None)


def kubeconfig_of(host: str, ca: Path | None, token: str) -> str:
    """Return a kubeconfig."""
    cluster = {"server": host} | ({"certificate-authority": str(ca)} if ca else {})
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    return yaml.safe_dump(content)


def host_address() -> str:
    """Return an address of this machine that is not a loopback one, for the API server proxies to no loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 9))  # sends nothing
        return str(one.getsockname()[0])


@contextmanager
def _running(folder: Path, program: str, *arguments: str) -> Iterator[None]:
    log = folder / f"{Path(program).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, *arguments], stdout=output, stderr=subprocess.STDOUT, env=os.environ)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(check: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if check():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "the control plane did not start; its logs are in the test's folder"
        time.sleep(0.1)


def _write_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain))
