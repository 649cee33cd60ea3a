"""Serve a version of the model: first to nobody, then to a share, then to everybody, and back."""

import time
from dataclasses import replace
from functools import partial
from typing import Any

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components import SERVING_IMAGE
from components.deploy.inferenceservice import (
    STANDARD,
    new_service,
    newest_service,
    owned_fields,
    read_rollout,
    reasons_not_ready,
)
from components.deploy.kubernetes_api import TEMPLATE_MANAGER, InferenceServiceClient, NotReadyError
from components.deploy.rollout import Rollout, check_model_uri, version_of
from components.deploy.smoke import smoke_test

READY_SECONDS = 600
POLL_SECONDS = 2.0


class RolloutError(InputError):
    """A version could not be served. The message says why, and what is served instead."""


def deploy(
    cluster: InferenceServiceClient,
    uri: str,
    *,
    canary_percent: int,
    mode: str = STANDARD,
    serving_image: str = SERVING_IMAGE,
    ready_seconds: float = READY_SECONDS,
) -> Rollout:
    """Serve a version beside the one that is served, at a share; the first version gets everything.

    It gets no request before it has answered a phantom. If it does not, it is withdrawn.

    Args:
        cluster: with the namespace.
        uri: address of one version.
        canary_percent: its share, 1 to 100.
        mode: deployment mode of a service that is not there yet; one that is keeps its own.
        serving_image: of the transformer, of a service that is not there yet.
        ready_seconds: how long to wait.

    Raises:
        InputError: an address that KServe cannot read, or a share out of range.
        KubernetesError: the API server refuses.
        RolloutError: the version was not ready in time or did not answer as it should.
    """
    uri = check_model_uri(uri)
    if not 1 <= canary_percent <= 100:
        raise InputError(f"canary_percent is {canary_percent}, wanted 1 to 100")
    service = cluster.get()
    before = read_rollout(service) if service else None
    if service is None:
        service = cluster.apply(new_service(uri, mode=mode, image=serving_image), manager=TEMPLATE_MANAGER)
    if before is None:
        return _serve_first(cluster, service, Rollout(uri), ready_seconds)
    if uri == before.stable:
        if before.canary is None:  # an attempt before this one may have left it before it answered
            _wait_until_serving(cluster, before, ready_seconds)
        return before
    trial = replace(before, canary=uri, canary_percent=before.canary_percent if uri == before.canary else 0)
    service = _apply_or_roll_back(cluster, service, trial, ready_seconds)
    if canary_percent == 100:
        return _promote(cluster, service, trial, ready_seconds)
    shared = replace(trial, canary_percent=canary_percent)
    cluster.apply(owned_fields(shared, service))
    return shared


def promote(cluster: InferenceServiceClient, *, ready_seconds: float = READY_SECONDS) -> Rollout:
    """Let the canary take everything.

    Raises:
        InputError: there is no canary.
        RolloutError: it does not answer in the place of the stable version; that one is served as before.
    """
    service, rollout = _served(cluster)
    if rollout.canary is None:
        raise InputError(f"there is no canary to promote in namespace {cluster.namespace}: it serves {rollout}")
    return _promote(cluster, service, rollout, ready_seconds)


def roll_back(cluster: InferenceServiceClient, *, ready_seconds: float = READY_SECONDS) -> Rollout:
    """Remove the canary, or without one serve the version before.

    Raises:
        InputError: there is neither a canary nor a version before.
        RolloutError: the version before does not answer; what was served is served as before.
    """
    service, rollout = _served(cluster)
    if rollout.canary:
        stable = replace(rollout, canary=None, canary_percent=0)
        cluster.apply(owned_fields(stable, service))
        return stable
    if rollout.previous is None:
        raise InputError(f"there is nothing to go back to in namespace {cluster.namespace}: it serves {rollout}")
    back = Rollout(rollout.previous)
    _apply_or_roll_back(cluster, service, back, ready_seconds)
    return back


def _serve_first(cluster: InferenceServiceClient, service: dict[str, Any], rollout: Rollout, ready_seconds: float) -> Rollout:
    cluster.apply(owned_fields(rollout, service))
    try:
        _wait_until_serving(cluster, rollout, ready_seconds)
    except InputError as error:
        raise RolloutError(f"{error}; it is left as it is, for nothing was served before") from error
    return rollout


def _promote(cluster: InferenceServiceClient, service: dict[str, Any], rollout: Rollout, ready_seconds: float) -> Rollout:
    # In the stable version's place, not by its name as KServe would allow: callers keep the Service that they know.
    promoted = Rollout(str(rollout.canary), previous=rollout.stable)
    _apply_or_roll_back(cluster, service, promoted, ready_seconds)
    return promoted


def _served(cluster: InferenceServiceClient) -> tuple[dict[str, Any], Rollout]:
    service = cluster.get()
    rollout = read_rollout(service) if service else None
    if service is None or rollout is None:
        raise InputError(f"nothing is served in namespace {cluster.namespace}: no InferenceService {MODEL_NAME} with a model")
    return service, rollout


def _apply_or_roll_back(
    cluster: InferenceServiceClient, service: dict[str, Any], after: Rollout, ready_seconds: float
) -> dict[str, Any]:
    """Serve `after`, wait until its newest version answers, and go back to the stable one if it does not; return the service."""
    before = read_rollout(service)
    assert before is not None
    stable = replace(before, canary=None, canary_percent=0)
    moved = cluster.apply(owned_fields(after, service))
    try:
        _wait_until_serving(cluster, after, ready_seconds)
    except InputError as error:
        try:
            cluster.apply(owned_fields(stable, moved))
        except InputError as second:
            raise RolloutError(f"{error}; and it could not be rolled back: {second}") from error
        raise RolloutError(f"{error}; rolled back to {stable}") from error
    return moved


def _wait_until_serving(cluster: InferenceServiceClient, rollout: Rollout, ready_seconds: float) -> None:
    """Wait until the newest version of a rollout is ready and answers a phantom on its own Service.

    Raises:
        RolloutError: it does not within `ready_seconds`.
        InputError: it answers, but not as it should, or the API server refuses.
    """
    version = version_of(rollout.newest)
    print(f"deploy: waiting for version {version} in namespace {cluster.namespace}", flush=True)
    deadline = time.monotonic() + ready_seconds
    while True:
        try:
            _smoke_test_newest(cluster, rollout)
            break
        except NotReadyError as error:
            if time.monotonic() > deadline:
                raise RolloutError(f"version {version} is not ready after {ready_seconds:g} s: {error}") from error
        time.sleep(POLL_SECONDS)
    print(f"deploy: version {version} answers a phantom as it should", flush=True)


def _smoke_test_newest(cluster: InferenceServiceClient, rollout: Rollout) -> None:
    service = cluster.get()
    if service is None:
        raise RolloutError(f"version {version_of(rollout.newest)} is not served: the InferenceService was deleted")
    if reasons := reasons_not_ready(rollout, service):
        raise NotReadyError(reasons)
    smoke_test(partial(cluster.call_service, newest_service(rollout, service)), version_of(rollout.newest))
