"""Roll a version of the model out: first without traffic, then as a canary, then with 100 % of traffic, and back."""

import time
from dataclasses import replace
from functools import partial

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components import SERVING_IMAGE
from components.deploy.inferenceservice import STANDARD, InferenceService, new_service
from components.deploy.kubernetes_api import TEMPLATE_MANAGER, InferenceServiceClient, NotReadyError
from components.deploy.rollout import Rollout, check_model_uri, version_of
from components.deploy.smoke import smoke_test

READY_SECONDS = 600
POLL_SECONDS = 2.0


class RolloutError(InputError):
    """A version could not be served. The message states the reason, and which version is served instead."""


def deploy(
    client: InferenceServiceClient,
    uri: str,
    *,
    canary_percent: int,
    mode: str = STANDARD,
    serving_image: str = SERVING_IMAGE,
    ready_seconds: float = READY_SECONDS,
) -> Rollout:
    """Serve a version as the canary of the stable one. The first version receives 100 % of traffic.

    It receives traffic after it has passed a smoke test with a phantom. If the test fails, the rollout is rolled back.

    Args:
        client: API client of the InferenceService's namespace.
        uri: URI of one version.
        canary_percent: Traffic percentage of the canary, 1 to 100; 100 promotes it.
        mode: Deployment mode of a new service, `Standard` or `Knative`. An existing service keeps its own.
        serving_image: Container image of the transformer of a new service.
        ready_seconds: Timeout in seconds until the version is ready.

    Raises:
        InputError: KServe cannot read the URI, or the traffic percentage is out of range.
        KubernetesError: The API server rejects a request.
        RolloutError: The version was not ready in time or failed the smoke test.
    """
    uri = check_model_uri(uri)
    if not 1 <= canary_percent <= 100:
        raise InputError(f"canary_percent: got {canary_percent}, expected 1 to 100")
    service = client.get()
    before = service.read_rollout() if service else None
    if service is None:
        service = client.apply(new_service(uri, mode=mode, image=serving_image), manager=TEMPLATE_MANAGER)
    if before is None:
        return _serve_first(client, service, Rollout(uri), ready_seconds)
    if uri == before.stable:
        if before.canary is None:  # an earlier attempt may have ended before the smoke test
            _wait_until_serving(client, before, ready_seconds)
        return before
    trial = replace(before, canary=uri, canary_percent=before.canary_percent if uri == before.canary else 0)
    service = _apply_or_roll_back(client, service, trial, ready_seconds)
    if canary_percent == 100:
        return _promote(client, service, trial, ready_seconds)
    rollout = replace(trial, canary_percent=canary_percent)
    client.apply(service.owned_fields(rollout))
    return rollout


def promote(client: InferenceServiceClient, *, ready_seconds: float = READY_SECONDS) -> Rollout:
    """Give the canary 100 % of traffic.

    Raises:
        InputError: There is no canary.
        RolloutError: The canary does not work as the stable version; the rollout is rolled back.
    """
    service, rollout = _served(client)
    if rollout.canary is None:
        raise InputError(f"there is no canary to promote in namespace {client.namespace}: it serves {rollout}")
    return _promote(client, service, rollout, ready_seconds)


def roll_back(client: InferenceServiceClient, *, ready_seconds: float = READY_SECONDS) -> Rollout:
    """Remove the canary, or without one serve the previous version.

    Raises:
        InputError: There is neither a canary nor a previous version.
        RolloutError: The previous version does not work; the served version stays.
    """
    service, rollout = _served(client)
    if rollout.canary:
        stable = replace(rollout, canary=None, canary_percent=0)
        client.apply(service.owned_fields(stable))
        return stable
    if rollout.previous is None:
        raise InputError(f"there is nothing to roll back to in namespace {client.namespace}: it serves {rollout}")
    back = Rollout(rollout.previous)
    _apply_or_roll_back(client, service, back, ready_seconds)
    return back


def _served(client: InferenceServiceClient) -> tuple[InferenceService, Rollout]:
    service = client.get()
    rollout = service.read_rollout() if service else None
    if service is None or rollout is None:
        raise InputError(f"nothing is served in namespace {client.namespace}: no InferenceService {MODEL_NAME} with a model")
    return service, rollout


def _serve_first(client: InferenceServiceClient, service: InferenceService, rollout: Rollout, ready_seconds: float) -> Rollout:
    client.apply(service.owned_fields(rollout))
    try:
        _wait_until_serving(client, rollout, ready_seconds)
    except InputError as error:
        raise RolloutError(f"{error}; it stays deployed, there is no previous version") from error
    return rollout


def _promote(client: InferenceServiceClient, service: InferenceService, rollout: Rollout, ready_seconds: float) -> Rollout:
    # Not by the canary's name, which KServe also allows: this way clients keep the Service that they know.
    promoted = Rollout(str(rollout.canary), previous=rollout.stable)
    _apply_or_roll_back(client, service, promoted, ready_seconds)
    return promoted


def _apply_or_roll_back(
    client: InferenceServiceClient, service: InferenceService, after: Rollout, ready_seconds: float
) -> InferenceService:
    """Apply a rollout and wait until its newest version serves. If it does not, roll back to the stable version.

    Raises:
        RolloutError: The newest version is not ready in time or fails the smoke test.
    """
    before = service.read_rollout()
    assert before is not None
    stable = replace(before, canary=None, canary_percent=0)
    applied = client.apply(service.owned_fields(after))
    try:
        _wait_until_serving(client, after, ready_seconds)
    except InputError as error:
        try:
            client.apply(applied.owned_fields(stable))
        except InputError as second:
            raise RolloutError(f"{error}; the rollback failed too: {second}") from error
        raise RolloutError(f"{error}; rolled back to {stable}") from error
    return applied


def _wait_until_serving(client: InferenceServiceClient, rollout: Rollout, ready_seconds: float) -> None:
    """Wait until the newest version of a rollout is ready and passes the smoke test through its own Service.

    Raises:
        RolloutError: The version is not ready after `ready_seconds`.
        InputError: The version fails the smoke test, or the API server rejects a request.
    """
    version = version_of(rollout.newest)
    print(f"deploy: waiting for version {version} in namespace {client.namespace}", flush=True)
    deadline = time.monotonic() + ready_seconds
    while True:
        try:
            _smoke_test_newest(client, rollout)
            break
        except NotReadyError as error:
            if time.monotonic() > deadline:
                raise RolloutError(f"version {version} is not ready after {ready_seconds:g} s: {error}") from error
        time.sleep(POLL_SECONDS)
    print(f"deploy: version {version} passed the smoke test", flush=True)


def _smoke_test_newest(client: InferenceServiceClient, rollout: Rollout) -> None:
    service = client.get()
    if service is None:
        raise RolloutError(f"version {version_of(rollout.newest)} is not served: the InferenceService was deleted")
    if reasons := service.reasons_not_ready(rollout):
        raise NotReadyError(reasons)
    smoke_test(partial(client.call_service, service.newest_service(rollout)), version_of(rollout.newest))
