"""Client of the Kubernetes API for one InferenceService, what KServe makes of it, and the Services in front of its pods.

It calls `ApiClient`. Kubernetes' dynamic client reports conflicts alike, but it asks for the API's resources first, caches them
in a file that all users share, and has no Service proxy.
"""

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
from components.deploy.inferenceservice import InferenceService, inference_service

GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
FIELD_MANAGER = "brain-tumor-deploy"
TEMPLATE_MANAGER = "brain-tumor-template"
REQUEST_TIMEOUT_SECONDS = 30
APPLY_PATCH, MERGE_PATCH = "application/apply-patch+yaml", "application/merge-patch+json"
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
FORBIDDEN = re.compile(r'User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"')


class KubernetesError(InputError):
    """The API server rejects a request. The message states the request and the reason."""


class NotReadyError(InputError):
    """The expected version does not serve yet."""


class ApiServerUnreachableError(KubernetesError, NotReadyError):
    """The API server is unreachable."""


class ConflictError(KubernetesError):
    """Another field manager owns a field of the request.

    Attributes:
        managers: Names of the other field managers.
    """

    def __init__(self, causes: list[dict[str, str]]):
        owners = {cause["field"]: cause["message"].split('"')[1] for cause in causes}
        self.managers = set(owners.values())
        listed = ", ".join(f"`{manager}` owns {field}" for field, manager in owners.items())
        super().__init__(
            f"conflict with another field manager: {listed}; remove these fields from its manifest, then run again with --force"
        )


class ServiceProxyError(KubernetesError):
    """A Service returns an error.

    Attributes:
        status: HTTP status code.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class InferenceServiceClient:
    """API client for the InferenceService of one namespace.

    Args:
        namespace: Namespace of the InferenceService.
        force: Whether to take fields over from other field managers.

    Raises:
        KubernetesError: The namespace is invalid, or there is neither a pod's ServiceAccount nor a kubeconfig.
    """

    def __init__(self, namespace: str, *, force: bool = False):
        if not NAMESPACE.fullmatch(namespace):
            raise KubernetesError(f"namespace: got {namespace!r}, expected lower-case letters, digits and `-`")
        settings = Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
                config.load_incluster_config(settings)
            else:
                config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=settings)
        except config.ConfigException as error:
            raise KubernetesError(f"no access to a cluster: expected a pod's ServiceAccount or KUBECONFIG: {error}") from error
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it logs a warning on each retry
        settings.retries = urllib3.Retry(3, backoff_factor=0.5)
        self.namespace, self.force = namespace, force
        self._client = ApiClient(settings)
        self._path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}/{MODEL_NAME}"

    def get(self) -> InferenceService | None:
        """Return the InferenceService, or None if there is none."""
        try:
            return inference_service(self._call("GET", self._path))
        except ApiException as error:
            if error.status == 404 and _status(error).get("details", {}).get("name") == MODEL_NAME:
                return None
            raise self._explained(error, f"read the InferenceService {MODEL_NAME}") from error

    def read(self, path: str, **query: str) -> dict[str, Any] | None:
        """Return another object of the API by its URL path, or None if there is none, or no such kind."""
        try:
            found: dict[str, Any] = self._call("GET", path, query=query)
        except ApiException as error:
            if error.status == 404:
                return None
            raise self._explained(error, f"read {path}") from error
        return found

    def apply(self, fields: dict[str, Any], *, manager: str = FIELD_MANAGER) -> InferenceService:
        """Apply fields server-side and return the InferenceService.

        Fields that the manager applied before and no longer applies are removed, unless another manager owns them too. Fields
        are taken over from the template's manager, which is ours; from others only with `force`. With the model applied, the
        template's fields are left to nobody, so that whoever applies an overlay after it gets them without a conflict.

        Raises:
            ConflictError: Another field manager owns one of the fields.
            KubernetesError: The API server rejects the request, or a field has another value afterwards.
        """
        try:
            service = self._apply(fields, manager, force=self.force)
        except ConflictError as conflict:
            if conflict.managers != {TEMPLATE_MANAGER}:
                raise
            service = self._apply(fields, manager, force=True)
        if changed := service.differences(fields):
            raise KubernetesError(f"the cluster changed what was applied to {MODEL_NAME}: {'; '.join(changed)}")
        return self._release_template(service) if manager == FIELD_MANAGER else service

    def call_service(self, service: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request to a Service through the API server's proxy, which also works from outside the cluster.

        Args:
            service: Name of a Service in the namespace.
            path: URL path, such as `/model`.
            body: JSON body of a POST; None sends a GET.

        Raises:
            ServiceProxyError: The Service returns an error or has no pod.
            KubernetesError: The API server rejects the request.
        """
        # Knative's activator finds the revision by these headers; the proxy replaces the Host header.
        headers = {"Knative-Serving-Namespace": self.namespace, "Knative-Serving-Revision": service}
        proxy = f"/api/v1/namespaces/{self.namespace}/services/{service}:80/proxy"
        try:
            return self._call("GET" if body is None else "POST", f"{proxy}{path}", body, headers)
        except ApiException as error:
            if error.status in (401, 403) and _status(error):
                raise self._explained(error, f"call the Service {service}") from error
            reason = _status(error).get("message") or _error_message(error)
            raise ServiceProxyError(
                f"the Service {service} returned {error.status} for {path}: {reason}", error.status
            ) from error

    def _release_template(self, service: InferenceService) -> InferenceService:
        """Remove the template's field manager from the service; its fields stay."""
        others = [each for each in service.field_managers if each["manager"] != TEMPLATE_MANAGER]
        if others == service.field_managers:
            return service
        body = {"metadata": {"managedFields": others, "resourceVersion": service.resource_version}}
        try:
            return inference_service(self._call("PATCH", self._path, body, {"Content-Type": MERGE_PATCH}))
        except ApiException as error:
            changed = self.get() if error.status == 409 else None  # as by KServe's controller
            if changed is None:
                raise self._explained(error, f"release the fields of the InferenceService {MODEL_NAME}") from error
            return self._release_template(changed)

    def _apply(self, fields: dict[str, Any], manager: str, *, force: bool) -> InferenceService:
        query = {"fieldManager": manager, "force": str(force).lower()}
        try:
            return inference_service(self._call("PATCH", self._path, fields, {"Content-Type": APPLY_PATCH}, query))
        except ApiException as error:
            causes = [cause for cause in _causes(error) if cause.get("reason") == "FieldManagerConflict"]
            if causes:
                raise ConflictError(causes) from error
            raise self._explained(error, f"apply the InferenceService {MODEL_NAME}") from error

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
    ) -> Any:
        try:
            response, _, _ = self._client.call_api(
                path,
                method,
                query_params=query or {},
                header_params={"Accept": "application/json", "Content-Type": "application/json"} | (headers or {}),
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _request_timeout=REQUEST_TIMEOUT_SECONDS,
            )
        except urllib3.exceptions.HTTPError as error:
            host = self._client.configuration.host
            raise ApiServerUnreachableError(f"the API server at {host} is unreachable: {type(error).__name__}") from error
        return response

    def _explained(self, error: ApiException, action: str) -> KubernetesError:
        """Return an error of the API server as one sentence."""
        message = _status(error).get("message") or error.reason or "no reason given"
        forbidden = FORBIDDEN.search(message)
        if error.status == 0:
            return KubernetesError(
                f"the certificate of the API server at {self._client.configuration.host} is not trusted: {error.reason}"
            )
        if forbidden:
            return KubernetesError(
                f"{forbidden['user']} may not {forbidden['verb']} {forbidden['resource']} in namespace {self.namespace}: "
                "bind a Role that has this verb on this resource"
            )
        if error.status == 404 and not _status(error):
            return KubernetesError(f"the cluster has no resource {PLURAL}.{GROUP}/{VERSION}: KServe is not installed")
        return KubernetesError(f"cannot {action} in namespace {self.namespace}: {error.status}: {message}")


def _status(error: ApiException) -> dict[str, Any]:
    """Return the Status object of the API server; empty if another server sent the response."""
    try:
        document = json.loads(error.body)
    except (TypeError, ValueError):
        return {}
    return document if isinstance(document, dict) and document.get("kind") == "Status" else {}


def _causes(error: ApiException) -> list[dict[str, str]]:
    return list(_status(error).get("details", {}).get("causes", []))


def _error_message(error: ApiException) -> str:
    """Return the message of our service's error, else the reason phrase: another server's body may contain anything."""
    try:
        return str(json.loads(error.body)["error"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)
