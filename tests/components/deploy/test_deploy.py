"""Deploy, promote and roll back against an API server, with real transformers that explain the phantom."""

from typing import Any

import pytest

from brain_tumor.errors import InputError
from components.deploy.deploy import deploy, promote, roll_back
from components.deploy.fields import differences
from components.deploy.inferenceservice import KNATIVE, STANDARD, new_service
from components.deploy.kubernetes_api import ConflictError, InferenceServiceClient
from components.deploy.rollout import Rollout
from components.deploy.waiting import RolloutError
from tests.components.deploy.api_server import ApiServer

STORE = "s3://models/brain-tumor"
V1, V2, V3 = (f"{STORE}/{version}" for version in "123")
SIMULATED = pytest.mark.parametrize("server", ["simulated"], indirect=True)  # what a real API server cannot be made to do
MODES = pytest.mark.parametrize("mode", [STANDARD, KNATIVE])


def predictor(server: ApiServer) -> dict[str, Any]:
    return dict(server.service()["spec"]["predictor"])


@MODES
def test_first_version_creates_the_service_and_receives_all_traffic(
    server: ApiServer, client: InferenceServiceClient, mode: str
) -> None:
    assert deploy(client, V1, canary_percent=10, mode=mode, serving_image="registry/serving:1") == Rollout(V1)
    assert server.settle() == [{"1": 100}]
    model = predictor(server)["model"]
    assert (model["runtime"], model["storageUri"]) == ("brain-tumor-tf-serving", f"{V1}/")
    assert model["env"] == [{"name": "MODEL_VERSION", "value": "1"}]
    (transformer,) = predictor(server)["containers"]
    assert (transformer["name"], transformer["image"]) == ("transformer-container", "registry/serving:1")
    ports = [port["containerPort"] for port in transformer["ports"]]
    assert ports == ([8080, 8081] if mode == STANDARD else [8080])
    assert not server.service()["spec"].get("canary")
    assert server.service()["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": mode}
    newest = "brain-tumor-predictor" if mode == STANDARD else "brain-tumor-predictor-00001"
    assert server.proxied == [(newest, "/model"), (newest, "/v1/models/brain-tumor:explain")]


@MODES
def test_second_version_passes_the_smoke_test_before_it_gets_traffic(
    server: ApiServer, client: InferenceServiceClient, mode: str
) -> None:
    deploy(client, V1, canary_percent=10, mode=mode)
    rollout = deploy(client, V2, canary_percent=10, mode=mode)
    assert str(rollout) == "version 1 at 90 %, version 2 at 10 %"
    assert server.settle() == [{"1": 100}, {"1": 90, "2": 10}]
    own = "brain-tumor-v2-predictor" if mode == STANDARD else "brain-tumor-predictor-00002"
    assert server.proxied[-2:] == [(own, "/model"), (own, "/v1/models/brain-tumor:explain")]
    if mode == STANDARD:
        assert server.controller.restarts == 0
        assert predictor(server)["model"]["storageUri"] == f"{V1}/"
        (canary,) = server.service()["spec"]["canary"]
        assert canary == {
            "trafficPercent": 10,
            "predictor": {
                "name": "v2",
                "annotations": {"serving.kserve.io/autoscalerClass": "none"},
                "model": {
                    "name": "",
                    "modelFormat": {"name": "tensorflow", "version": "2"},
                    "storageUri": f"{V2}/",
                    "env": [{"name": "MODEL_VERSION", "value": "2"}],
                },
            },
        }
    else:
        assert predictor(server)["canaryTrafficPercent"] == 10


@MODES
def test_promoted_canary_receives_all_traffic_and_is_rolled_back(
    server: ApiServer, client: InferenceServiceClient, mode: str
) -> None:
    deploy(client, V1, canary_percent=10, mode=mode)
    deploy(client, V2, canary_percent=10, mode=mode)
    server.settle()
    restarts = server.controller.restarts
    assert promote(client) == Rollout(V2, previous=V1)
    assert server.settle() == [{"1": 100}, {"1": 90, "2": 10}, {"2": 100}]
    assert server.controller.restarts == restarts + (1 if mode == STANDARD else 0)
    assert roll_back(client) == Rollout(V1)
    assert server.settle()[-1] == {"1": 100}
    assert predictor(server)["model"]["storageUri"] == f"{V1}/"
    assert predictor(server)["model"]["env"] == [{"name": "MODEL_VERSION", "value": "1"}]
    with pytest.raises(InputError, match="there is nothing to roll back to in namespace clinic: it serves version 1 at 100 %"):
        roll_back(client)


@MODES
def test_rollback_removes_the_canary_and_another_can_follow(server: ApiServer, client: InferenceServiceClient, mode: str) -> None:
    deploy(client, V1, canary_percent=10, mode=mode)
    deploy(client, V2, canary_percent=50, mode=mode)
    server.settle()
    assert str(roll_back(client)) == "version 1 at 100 %"
    server.settle()
    assert server.settle() == [{"1": 100}, {"1": 50, "2": 50}, {"1": 100}]
    assert not server.service()["spec"].get("canary")
    assert predictor(server)["model"]["storageUri"] == f"{V1}/"
    with pytest.raises(InputError, match="there is no canary to promote in namespace clinic: it serves version 1 at 100 %"):
        promote(client)
    deploy(client, V3, canary_percent=20, mode=mode)
    assert server.settle()[3:] == [{"1": 80, "3": 20}]


@MODES
def test_traffic_of_a_canary_is_raised_in_place_and_100_percent_promotes_it(
    server: ApiServer, client: InferenceServiceClient, mode: str
) -> None:
    deploy(client, V1, canary_percent=10, mode=mode)
    deploy(client, V2, canary_percent=10, mode=mode)
    server.settle()
    deploy(client, V2, canary_percent=60, mode=mode)
    assert server.settle() == [{"1": 100}, {"1": 90, "2": 10}, {"1": 40, "2": 60}]
    assert deploy(client, V2, canary_percent=100, mode=mode) == Rollout(V2, previous=V1)
    assert server.settle()[3:] == [{"2": 100}]
    generation = server.generation
    assert deploy(client, V2, canary_percent=10, mode=mode) == Rollout(V2, previous=V1)
    assert server.generation == generation


@MODES
def test_version_that_never_gets_ready_is_rolled_back_with_the_reasons(
    server: ApiServer, client: InferenceServiceClient, mode: str
) -> None:
    deploy(client, V1, canary_percent=10, mode=mode)
    server.controller.broken.add("2")
    with pytest.raises(RolloutError) as caught:
        deploy(client, V2, canary_percent=10, mode=mode, ready_seconds=server.patience)
    # KServe tells nothing of a canary but that it is not ready: its pods do.
    reasons = {
        STANDARD: "CanaryPredictorReady: CanariesNotReady; pods: 1 of 1 of this version, 0 of another, 0 of 1 ready",
        KNATIVE: "PredictorReady: RevisionFailed; Ready: PredictorNotReady; model: ModelLoadFailed: no such bucket",
    }
    pods = (
        "storage-initializer: Error: Traceback (most recent call last): "
        'File "/storage-initializer/scripts/initializer-entrypoint", line 50 '
        "RuntimeError: Failed to fetch model. No such bucket as in s3://models/brain-tumor; "
        "storage-initializer: CrashLoopBackOff: back-off 10s restarting failed container"
    )
    assert (
        str(caught.value)
        == f"version 2 is not ready after {server.patience} s: {reasons[mode]}; {pods}; rolled back to version 1 at 100 %"
    )
    server.settle()
    assert server.settle() == [{"1": 100}]
    assert not server.service()["spec"].get("canary")
    assert predictor(server)["model"]["storageUri"] == f"{V1}/"


@MODES
def test_canary_that_serves_another_version_is_rolled_back(server: ApiServer, client: InferenceServiceClient, mode: str) -> None:
    deploy(client, V1, canary_percent=10, mode=mode)
    server.backends["2"] = server.backends["3"]
    message = "s: model version in the smoke test: got 3, expected 2; rolled back to version 1 at 100 %$"
    with pytest.raises(RolloutError, match=message):
        deploy(client, V2, canary_percent=10, mode=mode, ready_seconds=server.patience)
    server.settle()
    assert server.settle() == [{"1": 100}]
    assert not server.service()["spec"].get("canary")


def test_service_without_a_pod_is_retried_until_the_timeout(server: ApiServer, client: InferenceServiceClient) -> None:
    deploy(client, V1, canary_percent=10)
    del server.backends["2"]
    with pytest.raises(
        RolloutError, match=f"version 2 is not ready after {server.patience} s: the Service brain-tumor-v2-predictor returned 503"
    ):
        deploy(client, V2, canary_percent=10, ready_seconds=server.patience)
    assert {service for service, _ in server.proxied} == {"brain-tumor-predictor"}
    assert server.settle() == [{"1": 100}]


def test_first_version_that_never_gets_ready_stays_deployed(server: ApiServer, client: InferenceServiceClient) -> None:
    server.controller.broken.add("1")
    with pytest.raises(
        RolloutError, match=r"Ready: MinimumReplicasUnavailable; .*; it stays deployed, there is no previous version"
    ):
        deploy(client, V1, canary_percent=10, ready_seconds=server.patience)
    with pytest.raises(
        RolloutError,
        match=rf"version 1 is not ready after {server.patience} s: .*Ready: MinimumReplicasUnavailable; .*: CrashLoop",
    ):
        deploy(client, V1, canary_percent=10, ready_seconds=server.patience)
    assert predictor(server)["model"]["storageUri"] == f"{V1}/"


def test_promotion_whose_pods_do_not_start_is_rolled_back(server: ApiServer, client: InferenceServiceClient) -> None:
    deploy(client, V1, canary_percent=10)
    deploy(client, V2, canary_percent=10)
    server.controller.broken.add("2")
    # A Deployment whose new pods do not start keeps the old ones, and KServe says that it is ready.
    pods = "pods: 1 of 1 of this version, 1 of another, 1 of 2 ready; storage-initializer: "
    message = f"^version 2 is not ready after {server.patience} s: {pods}.*; rolled back"
    with pytest.raises(RolloutError, match=message):
        promote(client, ready_seconds=server.patience)
    assert server.settle()[-1] == {"1": 100}
    assert not server.service()["spec"].get("canary")
    assert predictor(server)["model"]["storageUri"] == f"{V1}/"


def test_service_of_another_field_manager_keeps_its_fields(server: ApiServer, client: InferenceServiceClient) -> None:
    theirs = new_service(V1, mode=STANDARD, image="registry/serving:theirs")
    theirs["spec"]["predictor"]["model"]["env"].append({"name": "TF_CPP_MIN_LOG_LEVEL", "value": "2"})
    server.apply(theirs)
    deploy(client, V2, canary_percent=10)
    (canary,) = server.service()["spec"]["canary"]
    assert canary["predictor"]["model"]["env"] == [
        {"name": "TF_CPP_MIN_LOG_LEVEL", "value": "2"},
        {"name": "MODEL_VERSION", "value": "2"},
    ]
    assert list(differences(theirs, server.service())) == []


def test_service_without_a_model_gets_its_first_version(server: ApiServer, client: InferenceServiceClient) -> None:
    bare = new_service(V1, mode=STANDARD, image="registry/serving:1")
    for key in ("storageUri", "env"):
        del bare["spec"]["predictor"]["model"][key]
    server.apply(bare)
    assert deploy(client, V3, canary_percent=10) == Rollout(V3)
    assert server.settle() == [{"3": 100}]


def test_conflict_names_the_field_manager_and_force_takes_over(server: ApiServer, client: InferenceServiceClient) -> None:
    server.apply(new_service(V1, mode=STANDARD, image="registry/serving:1"))
    deploy(client, V2, canary_percent=10)
    with pytest.raises(ConflictError) as caught:
        promote(client)
    assert str(caught.value) == (
        "conflict with another field manager: `kubectl` owns .spec.predictor.model.storageUri, "
        '`kubectl` owns .spec.predictor.model.env[name="MODEL_VERSION"].value; '
        "remove these fields from its manifest, then run again with --force"
    )
    assert caught.value.managers == {"kubectl"}
    assert server.settle()[-1] == {"1": 90, "2": 10}
    client.force = True
    assert str(promote(client)) == "version 2 at 100 %"
    assert server.settle()[-1] == {"2": 100}


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("/runs/models/brain-tumor/3", "model URI: got /runs/models/brain-tumor/3, expected s3://, gs:// or pvc://CLAIM/PATH"),
        ("https://user:secret@host/brain-tumor/3", "model URI: got https://host/brain-tumor/3, expected"),
        ("s3://models/brain-tumor", "model URI: got s3://models/brain-tumor, expected the URI of one version such as"),
    ],
)
def test_uri_that_kserve_cannot_read_is_rejected_before_any_request(
    server: ApiServer, client: InferenceServiceClient, uri: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        deploy(client, uri, canary_percent=10)
    assert str(caught.value).startswith(message)
    assert not server.exists


def test_traffic_percentage_out_of_range_and_unknown_mode_are_rejected(server: ApiServer, client: InferenceServiceClient) -> None:
    with pytest.raises(InputError, match="canary_percent: got 0, expected 1 to 100"):
        deploy(client, V1, canary_percent=0)
    with pytest.raises(InputError, match="deployment_mode: got 'Serverless', expected Standard or Knative"):
        deploy(client, V1, canary_percent=10, mode="Serverless")
    assert not server.exists


def test_promote_and_roll_back_without_a_service_are_errors(client: InferenceServiceClient) -> None:
    for command in (promote, roll_back):
        with pytest.raises(InputError, match="nothing is served in namespace clinic: no InferenceService brain-tumor"):
            command(client)
