"""Roll a version of the model out: first without traffic, then as a canary, then with 100 % of traffic, and back."""

from dataclasses import replace

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME
from components import SERVING_IMAGE
from components.deploy.inferenceservice import STANDARD, InferenceService, StandardService, new_service
from components.deploy.kubernetes_api import TEMPLATE_MANAGER, InferenceServiceClient
from components.deploy.least_versions import check_versions
from components.deploy.rollout import Rollout, check_model_uri, version_of
from components.deploy.waiting import RolloutError, wait_for_routes, wait_until_removed, wait_until_serving
from components.deploy.workload import routed_percent

READY_SECONDS = 600


def deploy(
    client: InferenceServiceClient,
    uri: str,
    *,
    canary_percent: int,
    digest: str | None = None,
    mode: str = STANDARD,
    serving_image: str = SERVING_IMAGE,
    ready_seconds: float = READY_SECONDS,
) -> Rollout:
    """Serve a version as the canary of the stable one. The first version receives 100 % of traffic.

    It receives traffic after it has passed a smoke test with a phantom. If the test fails, the rollout is rolled back. The
    result states the traffic percentage that acts: without an HTTPRoute the canary receives none.

    Args:
        client: API client of the InferenceService's namespace.
        uri: URI of one version.
        canary_percent: Traffic percentage of the canary, 1 to 100; 100 promotes it.
        digest: Digest of the files, which the pods compare with theirs; empty for an unsigned version, None keeps what is there.
        mode: Deployment mode of a new service, `Standard` or `Knative`. An existing service keeps its own.
        serving_image: Container image of the transformer of a new service.
        ready_seconds: Timeout in seconds until the version is ready.

    Raises:
        InputError: KServe cannot read the URI, or the traffic percentage is out of range.
        KubernetesError: The API server rejects a request, or the cluster has an older version than the service needs.
        RolloutError: The version was not ready in time or failed the smoke test.
    """
    uri = check_model_uri(uri)
    if not 1 <= canary_percent <= 100:
        raise InputError(f"canary_percent: got {canary_percent}, expected 1 to 100")
    service = client.get()
    check_versions(client, service.mode if service else mode)
    before = service.read_rollout() if service else None
    digests = {} if digest is None else {uri: digest}
    if service is None:
        service = client.apply(new_service(uri, mode=mode, image=serving_image, digest=digest or ""), manager=TEMPLATE_MANAGER)
    if before is None:
        return _serve_first(client, service, Rollout(uri, digests=digests), ready_seconds)
    before = replace(before, digests={**before.digests, **digests})
    if uri == before.stable:
        return _apply_served(client, service, before, ready_seconds)
    _announce(client, service, replace(before, canary=uri, canary_percent=canary_percent))
    trial = replace(before, canary=uri, canary_percent=before.canary_percent if uri == before.canary else 0)
    service = _apply_or_roll_back(client, service, trial, ready_seconds)
    if canary_percent == 100:
        return _promote(client, service, trial, ready_seconds)
    return _apply_served(client, service, replace(trial, canary_percent=canary_percent), ready_seconds)


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
        wait_until_removed(client, rollout, ready_seconds)
        return stable
    if rollout.previous is None:
        raise InputError(f"there is nothing to roll back to in namespace {client.namespace}: it serves {rollout}")
    back = Rollout(rollout.previous, digests=rollout.digests)
    _apply_or_roll_back(client, service, back, ready_seconds)
    return wait_for_routes(client, back, ready_seconds)


def _served(client: InferenceServiceClient) -> tuple[InferenceService, Rollout]:
    service = client.get()
    rollout = service.read_rollout() if service else None
    if service is None or rollout is None:
        raise InputError(f"nothing is served in namespace {client.namespace}: no InferenceService {MODEL_NAME} with a model")
    return service, rollout


def _serve_first(client: InferenceServiceClient, service: InferenceService, rollout: Rollout, ready_seconds: float) -> Rollout:
    client.apply(service.owned_fields(rollout))
    try:
        wait_until_serving(client, rollout, ready_seconds)
    except InputError as error:
        raise RolloutError(f"{error}; it stays deployed, there is no previous version") from error
    return rollout


def _apply_served(client: InferenceServiceClient, service: InferenceService, rollout: Rollout, ready_seconds: float) -> Rollout:
    """Apply a rollout whose versions are served already, and return it with the traffic percentage that acts."""
    client.apply(service.owned_fields(rollout))  # what nobody changes may have another owner, who could remove it
    if rollout.canary is None:  # an earlier attempt may have ended before the smoke test
        wait_until_serving(client, rollout, ready_seconds)
    return wait_for_routes(client, rollout, ready_seconds)


def _promote(client: InferenceServiceClient, service: InferenceService, rollout: Rollout, ready_seconds: float) -> Rollout:
    # Not by the canary's name, which KServe also allows: this way clients keep the Service that they know.
    promoted = Rollout(str(rollout.canary), previous=rollout.stable, digests=rollout.digests)
    _apply_or_roll_back(client, service, promoted, ready_seconds)
    return wait_for_routes(client, promoted, ready_seconds)


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
        wait_until_serving(client, after, ready_seconds)
    except InputError as error:
        try:
            client.apply(applied.owned_fields(stable))
        except InputError as second:
            raise RolloutError(f"{error}; the rollback failed too: {second}") from error
        raise RolloutError(f"{error}; rolled back to {stable}") from error
    return applied


def _announce(client: InferenceServiceClient, service: InferenceService, rollout: Rollout) -> None:
    """Print what KServe will do to the stable version beside a canary, and whether nothing will split the traffic."""
    if not isinstance(service, StandardService):
        return
    minimum, beside = service.minimum_beside(rollout)
    if beside < minimum:
        print(
            f"deploy: KServe counts a canary's pods in minReplicas: while the canary is ready, at least {beside} instead of "
            f"{minimum} pods of version {version_of(rollout.stable)} run",
            flush=True,
        )
    if routed_percent(client, service.newest_service(rollout)) is None:
        print("deploy: no HTTPRoute splits the traffic: the canary will receive none", flush=True)
