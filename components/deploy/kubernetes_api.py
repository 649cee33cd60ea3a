"""What the deploy step asks of the Kubernetes API: one InferenceService, and the Services in front of its pods."""

import json
import logging
import os
import re
from typing import Any

import urllib3
from kubernetes import config
from kubernetes.client import ApiClient, ApiException, Configuration

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME

GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
FIELD_MANAGER = "brain-tumor-deploy"
TEMPLATE_MANAGER = "brain-tumor-template"
REQUEST_SECONDS = 30
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
FORBIDDEN = re.compile(r'User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"')


class KubernetesError(InputError):
    """The API server does not do what it is asked. The message says what was asked, and why not."""


class NotReadyError(InputError):
    """What is waited for is not there yet."""


class ApiServerUnreachableError(KubernetesError, NotReadyError):
    """The API server does not answer."""


class ConflictError(KubernetesError):
    """Another field manager owns what is to be changed.

    Attributes:
        managers: their names.
    """

    def __init__(self, causes: list[dict[str, str]]):
        owners = {cause["field"]: cause["message"].split('"')[1] for cause in causes}
        self.managers = set(owners.values())
        listed = ", ".join(f"`{manager}` owns {field}" for field, manager in owners.items())
        super().__init__(
            f"another field manager decides what is served: {listed}. Take them out of "
            "what it applies, and take them over with --force"
        )


class ServiceProxyError(KubernetesError):
    """A Service answers with an error.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, sentence: str, status: int):
        super().__init__(sentence)
        self.status = status


class InferenceServiceClient:
    """The InferenceService of one namespace.

    Args:
        namespace: that holds it.
        force: take fields over from other managers.

    Raises:
        KubernetesError: no name of a namespace, or neither a pod's ServiceAccount nor a kubeconfig is there.
    """

    def __init__(self, namespace: str, *, force: bool = False):
        if not NAMESPACE.fullmatch(namespace):
            raise KubernetesError(f"namespace is {namespace!r}, wanted small letters, digits and `-`")
        settings = Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
                config.load_incluster_config(settings)
            else:
                config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=settings)
        except config.ConfigException as error:
            raise KubernetesError(f"no cluster to deploy to: wanted a pod's ServiceAccount, or KUBECONFIG: {error}") from error
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of each retry
        settings.retries = urllib3.Retry(3, backoff_factor=0.5)
        self.namespace, self.force = namespace, force
        self._client = ApiClient(settings)
        self._path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}/{MODEL_NAME}"

    def get(self) -> dict[str, Any] | None:
        """Return the InferenceService, or None where there is none."""
        try:
            return self._call("GET", self._path)
        except ApiException as error:
            if error.status == 404 and _status(error).get("details", {}).get("name") == MODEL_NAME:
                return None
            raise self._explained(error, "read the InferenceService") from error

    def apply(self, fields: dict[str, Any], *, manager: str = FIELD_MANAGER) -> dict[str, Any]:
        """Apply fields on the server's side and return the whole InferenceService.

        What the manager applied before and no longer does is removed, unless another owns it too. Fields are taken over from
        the template's manager, which is ours, and from others with `force` only.

        Raises:
            ConflictError: another field manager owns one of them.
            KubernetesError: the API server refuses.
        """
        try:
            return self._apply(fields, manager, force=self.force)
        except ConflictError as conflict:
            if conflict.managers != {TEMPLATE_MANAGER}:
                raise
            return self._apply(fields, manager, force=True)

    def call_service(self, service: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask a Service of the namespace through the API server's proxy, which reaches it from outside of the cluster too.

        Raises:
            ServiceError: it answers with an error, or no pod is behind it.
            KubernetesError: the API server refuses.
        """
        # Knative's activator tells revisions apart by these; the proxy does not keep the Host.
        headers = {"Knative-Serving-Namespace": self.namespace, "Knative-Serving-Revision": service}
        proxy = f"/api/v1/namespaces/{self.namespace}/services/{service}:80/proxy"
        try:
            return self._call("GET" if body is None else "POST", f"{proxy}{path}", body, headers)
        except ApiException as error:
            if error.status in (401, 403) and _status(error):
                raise self._explained(error, f"ask the Service {service}") from error
            said = _status(error).get("message") or _sentence(error)
            raise ServiceProxyError(f"the Service {service} answers {error.status} to {path}: {said}", error.status) from error

    def _apply(self, fields: dict[str, Any], manager: str, *, force: bool) -> dict[str, Any]:
        query = {"fieldManager": manager, "force": str(force).lower()}
        try:
            return self._call("PATCH", self._path, fields, {"Content-Type": "application/apply-patch+yaml"}, query)
        except ApiException as error:
            causes = [cause for cause in _causes(error) if cause.get("reason") == "FieldManagerConflict"]
            if causes:
                raise ConflictError(causes) from error
            raise self._explained(error, "apply the InferenceService") from error

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
    ) -> Any:
        try:
            answer, _, _ = self._client.call_api(
                path,
                method,
                query_params=query or {},
                header_params={"Accept": "application/json", "Content-Type": "application/json"} | (headers or {}),
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _request_timeout=REQUEST_SECONDS,
            )
        except urllib3.exceptions.HTTPError as error:
            where = self._client.configuration.host
            raise ApiServerUnreachableError(f"the API server at {where} does not answer: {type(error).__name__}") from error
        return answer

    def _explained(self, error: ApiException, what: str) -> KubernetesError:
        """Turn the API server's refusal into one sentence."""
        message = _status(error).get("message") or error.reason or "no reason given"
        forbidden = FORBIDDEN.search(message)
        if error.status == 0:
            return KubernetesError(f"the API server at {self._client.configuration.host} is not trusted: {error.reason}")
        if forbidden:
            return KubernetesError(
                f"{forbidden['user']} may not {forbidden['verb']} {forbidden['resource']} in namespace {self.namespace}: "
                "bind a Role that has this verb on this resource"
            )
        if error.status == 404 and not _status(error):
            return KubernetesError(f"the cluster knows no {PLURAL}.{GROUP}/{VERSION}: KServe is not installed")
        return KubernetesError(f"cannot {what} {MODEL_NAME} in namespace {self.namespace}: {error.status}: {message}")


def _status(error: ApiException) -> dict[str, Any]:
    """Return the Status object that the API server itself answers with; empty where the answer is another's."""
    try:
        document = json.loads(error.body)
    except (TypeError, ValueError):
        return {}
    return document if isinstance(document, dict) and document.get("kind") == "Status" else {}


def _causes(error: ApiException) -> list[dict[str, str]]:
    return list(_status(error).get("details", {}).get("causes", []))


def _sentence(error: ApiException) -> str:
    """Return the sentence in our service's error, and nothing that another may have put into a body."""
    try:
        return str(json.loads(error.body)["error"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)
