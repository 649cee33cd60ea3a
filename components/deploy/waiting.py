"""Wait until KServe and Kubernetes have done what was applied."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from brain_tumor.errors import InputError
from components.deploy.inferenceservice import InferenceService, KnativeService
from components.deploy.kubernetes_api import InferenceServiceClient, NotReadyError
from components.deploy.rollout import Rollout, version_of
from components.deploy.smoke import smoke_test
from components.deploy.workload import deployment, pod_reasons, pods, reasons_not_rolled_out, routed_percent

POLL_SECONDS = 2.0
T = TypeVar("T")


class RolloutError(InputError):
    """A version could not be served. The message states the reason, and which version is served instead."""


def wait_until_serving(client: InferenceServiceClient, rollout: Rollout, ready_seconds: float) -> None:
    """Wait until all pods of the newest version are ready, none of another is left, and it passes the smoke test.

    The smoke test calls the version's own Service.

    Raises:
        RolloutError: The version is not ready after `ready_seconds`.
        InputError: The version fails the smoke test, or the API server rejects a request.
    """
    version = version_of(rollout.newest)
    print(f"deploy: waiting for version {version} in namespace {client.namespace}", flush=True)
    _wait(partial(_smoke_test_newest, client, rollout), ready_seconds, f"version {version} is not ready")
    print(f"deploy: version {version} passed the smoke test", flush=True)


def wait_until_removed(client: InferenceServiceClient, rollout: Rollout, ready_seconds: float) -> None:
    """Wait until KServe sends no traffic to the canary of a rollout any more, and has removed it.

    Raises:
        RolloutError: It is still there after `ready_seconds`.
    """

    def check() -> None:
        service = _read(client, rollout)
        name = service.newest_service(rollout)
        if isinstance(service, KnativeService):
            if reasons := service.reasons_not_ready(replace(rollout, canary=None)):
                raise NotReadyError(reasons)
            _check_traffic(service)
        elif routed_percent(client, name):
            raise NotReadyError(f"an HTTPRoute sends traffic to {name}")
        elif deployment(client, name):
            raise NotReadyError(f"its Deployment {name} exists")

    _wait(check, ready_seconds, f"version {version_of(rollout.newest)} is not removed")


def wait_for_routes(client: InferenceServiceClient, rollout: Rollout, ready_seconds: float) -> Rollout:
    """Wait until Knative, or the HTTPRoutes if there are any, give the newest version its percentage.

    Returns:
        The rollout with the canary's percentage that acts.

    Raises:
        RolloutError: They give it another percentage after `ready_seconds`.
    """
    percent = _wait(partial(_check_routes, client, rollout), ready_seconds, "the traffic is not split")
    return replace(rollout, routed_percent=percent) if rollout.canary else rollout


def _wait(check: Callable[[], T], seconds: float, failure: str) -> T:
    """Call `check` until it raises no NotReadyError, and return its result.

    Raises:
        RolloutError: It still does after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except NotReadyError as error:
            if time.monotonic() > deadline:
                raise RolloutError(f"{failure} after {seconds:g} s: {error}") from error
        time.sleep(POLL_SECONDS)


def _check_routes(client: InferenceServiceClient, rollout: Rollout) -> int:
    """Return the traffic percentage of the newest version, or raise NotReadyError if another one was applied."""
    service = _read(client, rollout)
    if isinstance(service, KnativeService):
        return _check_traffic(service)
    if rollout.canary is None:  # the routes give the stable version what no canary gets
        return 100
    name, wanted = service.newest_service(rollout), rollout.canary_percent
    percent = routed_percent(client, name)
    if percent not in (None, wanted):
        raise NotReadyError(f"an HTTPRoute sends {percent} % of the traffic to {name}, expected {wanted} %")
    return percent or 0


def _check_traffic(service: KnativeService) -> int:
    """Return the traffic percentage of Knative's newest revision, or raise NotReadyError if another one was applied."""
    acting, applied = service.traffic()
    if acting != applied:
        raise NotReadyError(f"Knative sends {acting} % of the traffic to the newest revision, expected {applied} %")
    return acting


def _read(client: InferenceServiceClient, rollout: Rollout) -> InferenceService:
    service = client.get()
    if service is None:
        raise RolloutError(f"version {version_of(rollout.newest)} is not served: the InferenceService was deleted")
    return service


def _smoke_test_newest(client: InferenceServiceClient, rollout: Rollout) -> None:
    service, version = _read(client, rollout), version_of(rollout.newest)
    name = service.newest_service(rollout)
    reasons = [reason] if (reason := service.reasons_not_ready(rollout)) else []
    if not isinstance(service, KnativeService):
        reasons += reasons_not_rolled_out(deployment(client, name), version)
    if reasons:
        raise NotReadyError("; ".join([*reasons, *pod_reasons(pods(client), name)]))
    smoke_test(partial(client.call_service, name), version)
