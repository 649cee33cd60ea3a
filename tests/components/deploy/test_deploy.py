"""Deploy, promote and roll back against an API server, with real transformers that answer the phantom."""

import copy
from typing import Any

import pytest

from brain_tumor.errors import InputError
from components.deploy.deploy import RolloutError, deploy, promote, roll_back
from components.deploy.inferenceservice import KNATIVE, STANDARD, TEMPLATE, new_service
from components.deploy.kubernetes_api import FIELD_MANAGER, TEMPLATE_MANAGER, ConflictError, InferenceServiceClient
from components.deploy.rollout import Rollout
from tests.components.deploy.api_server import ApiServer
from tests.pod_security import violations

STORE = "s3://models/brain-tumor"
V1, V2, V3 = (f"{STORE}/{version}" for version in "123")
MODES = pytest.mark.parametrize("mode", [STANDARD, KNATIVE])


def predictor(server: ApiServer) -> dict[str, Any]:
    return dict(server.service()["spec"]["predictor"])


def settle(server: ApiServer) -> list[dict[str, int]]:
    """Let the controller look once more and return the shares after each change."""
    server.get()
    return server.controller.traffic


@MODES
def test_first_version_creates_the_whole_service_and_gets_everything(
    server: ApiServer, cluster: InferenceServiceClient, mode: str
) -> None:
    assert deploy(cluster, V1, canary_percent=10, mode=mode, serving_image="registry/serving:1") == Rollout(V1)
    assert settle(server) == [{"1": 100}]
    model = predictor(server)["model"]
    assert (model["runtime"], model["storageUri"]) == ("brain-tumor-tf-serving", V1)
    assert model["env"] == [{"name": "MODEL_VERSION", "value": "1"}]
    (transformer,) = predictor(server)["containers"]
    assert (transformer["name"], transformer["image"]) == ("transformer-container", "registry/serving:1")
    ports = [port["containerPort"] for port in transformer["ports"]]
    assert ports == ([8080, 8081] if mode == STANDARD else [8080])
    assert "canary" not in server.service()["spec"]
    assert server.service()["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": mode}
    newest = "brain-tumor-predictor" if mode == STANDARD else "brain-tumor-predictor-00001"
    assert server.asked == [(newest, "/model"), (newest, "/v1/models/brain-tumor:explain")]


@MODES
def test_second_version_answers_before_it_gets_its_share(server: ApiServer, cluster: InferenceServiceClient, mode: str) -> None:
    deploy(cluster, V1, canary_percent=10, mode=mode)
    rollout = deploy(cluster, V2, canary_percent=10, mode=mode)
    assert str(rollout) == "version 1 at 90 %, version 2 at 10 %"
    assert settle(server) == [{"1": 100}, {"1": 90, "2": 10}]
    own = "brain-tumor-v2-predictor" if mode == STANDARD else "brain-tumor-predictor-00002"
    assert server.asked[-2:] == [(own, "/model"), (own, "/v1/models/brain-tumor:explain")]
    if mode == STANDARD:
        assert server.controller.restarts == 0
        assert predictor(server)["model"]["storageUri"] == V1
        (canary,) = server.service()["spec"]["canary"]
        assert canary == {
            "trafficPercent": 10,
            "predictor": {
                "name": "v2",
                "model": {
                    "name": "",
                    "modelFormat": {"name": "tensorflow", "version": "2"},
                    "storageUri": V2,
                    "env": [{"name": "MODEL_VERSION", "value": "2"}],
                },
            },
        }
    else:
        assert predictor(server)["canaryTrafficPercent"] == 10


@MODES
def test_promoted_canary_gets_everything_and_is_rolled_back(
    server: ApiServer, cluster: InferenceServiceClient, mode: str
) -> None:
    deploy(cluster, V1, canary_percent=10, mode=mode)
    deploy(cluster, V2, canary_percent=10, mode=mode)
    restarts = server.controller.restarts
    assert promote(cluster) == Rollout(V2, previous=V1)
    assert settle(server) == [{"1": 100}, {"1": 90, "2": 10}, {"2": 100}]
    assert server.controller.restarts == restarts + (1 if mode == STANDARD else 0)
    assert roll_back(cluster) == Rollout(V1)
    assert settle(server)[-1] == {"1": 100}
    assert predictor(server)["model"]["storageUri"] == V1
    assert predictor(server)["model"]["env"] == [{"name": "MODEL_VERSION", "value": "1"}]
    with pytest.raises(InputError, match="there is nothing to go back to in namespace clinic: it serves version 1 at 100 %"):
        roll_back(cluster)


@MODES
def test_canary_is_removed_by_a_rollback_and_another_follows(
    server: ApiServer, cluster: InferenceServiceClient, mode: str
) -> None:
    deploy(cluster, V1, canary_percent=10, mode=mode)
    deploy(cluster, V2, canary_percent=50, mode=mode)
    assert str(roll_back(cluster)) == "version 1 at 100 %"
    settle(server)
    assert settle(server) == [{"1": 100}, {"1": 50, "2": 50}, {"1": 100}]
    assert "canary" not in server.service()["spec"]
    assert predictor(server)["model"]["storageUri"] == V1
    with pytest.raises(InputError, match="there is no canary to promote in namespace clinic: it serves version 1 at 100 %"):
        promote(cluster)
    deploy(cluster, V3, canary_percent=20, mode=mode)
    assert settle(server)[3:] == [{"1": 80, "3": 20}]


@MODES
def test_share_is_raised_without_a_new_trial_and_100_promotes(
    server: ApiServer, cluster: InferenceServiceClient, mode: str
) -> None:
    deploy(cluster, V1, canary_percent=10, mode=mode)
    deploy(cluster, V2, canary_percent=10, mode=mode)
    deploy(cluster, V2, canary_percent=60, mode=mode)
    assert settle(server) == [{"1": 100}, {"1": 90, "2": 10}, {"1": 40, "2": 60}]
    assert deploy(cluster, V2, canary_percent=100, mode=mode) == Rollout(V2, previous=V1)
    assert settle(server)[3:] == [{"2": 100}]
    generation = server.generation
    assert deploy(cluster, V2, canary_percent=10, mode=mode) == Rollout(V2, previous=V1)
    assert server.generation == generation


@MODES
def test_version_that_never_gets_ready_is_withdrawn_with_the_conditions_reasons(
    server: ApiServer, cluster: InferenceServiceClient, mode: str
) -> None:
    deploy(cluster, V1, canary_percent=10, mode=mode)
    server.controller.broken.add("2")
    reason = "CanaryPredictorReady: CanariesNotReady" if mode == STANDARD else "PredictorReady: RevisionFailed"
    with pytest.raises(RolloutError) as caught:
        deploy(cluster, V2, canary_percent=10, mode=mode, ready_seconds=1)
    assert str(caught.value).startswith(f"version 2 is not ready after 1 s: {reason}; ")
    assert str(caught.value).endswith("model: ModelLoadFailed: no such bucket; rolled back to version 1 at 100 %")
    settle(server)
    assert settle(server) == [{"1": 100}]
    assert "canary" not in server.service()["spec"]
    assert predictor(server)["model"]["storageUri"] == V1


@MODES
def test_canary_that_answers_as_another_version_is_withdrawn(
    server: ApiServer, cluster: InferenceServiceClient, mode: str
) -> None:
    deploy(cluster, V1, canary_percent=10, mode=mode)
    server.backends["2"] = server.backends["3"]
    with pytest.raises(RolloutError, match=r"s: version 3 answers, wanted version 2; rolled back to version 1 at 100 %$"):
        deploy(cluster, V2, canary_percent=10, mode=mode, ready_seconds=1)
    settle(server)
    assert settle(server) == [{"1": 100}]
    assert "canary" not in server.service()["spec"]


def test_service_without_a_pod_is_asked_again_until_the_time_is_up(server: ApiServer, cluster: InferenceServiceClient) -> None:
    deploy(cluster, V1, canary_percent=10)
    del server.backends["2"]
    with pytest.raises(RolloutError, match="version 2 is not ready after 1 s: the Service brain-tumor-v2-predictor answers 503"):
        deploy(cluster, V2, canary_percent=10, ready_seconds=1)
    assert len(server.asked) > 4
    assert settle(server) == [{"1": 100}]


def test_first_version_that_never_gets_ready_is_left_to_be_looked_at(server: ApiServer, cluster: InferenceServiceClient) -> None:
    server.controller.broken.add("1")
    with pytest.raises(RolloutError, match="Ready: MinimumReplicasUnavailable; it is left as it is, for nothing was served"):
        deploy(cluster, V1, canary_percent=10, ready_seconds=1)
    with pytest.raises(RolloutError, match=r"version 1 is not ready after 1 s: .*Ready: MinimumReplicasUnavailable$"):
        deploy(cluster, V1, canary_percent=10, ready_seconds=1)
    assert predictor(server)["model"]["storageUri"] == V1


def test_promotion_whose_pods_do_not_come_up_goes_back(server: ApiServer, cluster: InferenceServiceClient) -> None:
    deploy(cluster, V1, canary_percent=10)
    deploy(cluster, V2, canary_percent=10)
    server.controller.broken.add("2")
    with pytest.raises(RolloutError, match="version 1 answers, wanted version 2; rolled back to version 1 at 100 %"):
        promote(cluster, ready_seconds=1)
    assert settle(server)[-1] == {"1": 100}
    assert "canary" not in server.service()["spec"]
    assert predictor(server)["model"]["storageUri"] == V1


def test_service_that_others_made_keeps_what_is_theirs(server: ApiServer, cluster: InferenceServiceClient) -> None:
    theirs = new_service(V1, mode=STANDARD, image="registry/serving:theirs")
    theirs["spec"]["predictor"]["model"]["env"].append({"name": "TF_CPP_MIN_LOG_LEVEL", "value": "2"})
    server.apply(theirs)
    deploy(cluster, V2, canary_percent=10)
    (canary,) = server.service()["spec"]["canary"]
    assert canary["predictor"]["model"]["env"] == [
        {"name": "TF_CPP_MIN_LOG_LEVEL", "value": "2"},
        {"name": "MODEL_VERSION", "value": "2"},
    ]
    without_canary = copy.deepcopy(server.applied.document)
    del without_canary["spec"]["canary"]
    assert without_canary == theirs


def test_template_can_be_applied_again_without_touching_the_model(server: ApiServer, cluster: InferenceServiceClient) -> None:
    deploy(cluster, V1, canary_percent=10)
    deploy(cluster, V2, canary_percent=100)
    newer = new_service(V1, mode=STANDARD, image="registry/serving:newer")
    for key in ("storageUri", "env"):
        del newer["spec"]["predictor"]["model"][key]
    server.apply(newer, TEMPLATE_MANAGER)
    assert predictor(server)["containers"][0]["image"] == "registry/serving:newer"
    assert predictor(server)["model"]["storageUri"] == V2
    assert server.applied.managers[FIELD_MANAGER] & server.applied.managers[TEMPLATE_MANAGER] == {
        ("apiVersion",),
        ("kind",),
        ("metadata", "name"),
    }


def test_service_without_a_model_gets_its_first(server: ApiServer, cluster: InferenceServiceClient) -> None:
    bare = new_service(V1, mode=STANDARD, image="registry/serving:1")
    for key in ("storageUri", "env"):
        del bare["spec"]["predictor"]["model"][key]
    server.apply(bare)
    assert deploy(cluster, V3, canary_percent=10) == Rollout(V3)
    assert settle(server) == [{"3": 100}]


def test_other_field_manager_is_named_and_force_takes_over(server: ApiServer, cluster: InferenceServiceClient) -> None:
    server.apply(new_service(V1, mode=STANDARD, image="registry/serving:1"))
    deploy(cluster, V2, canary_percent=10)
    with pytest.raises(ConflictError) as caught:
        promote(cluster)
    assert str(caught.value) == (
        "another field manager decides what is served: `kubectl` owns .spec.predictor.model.storageUri, "
        '`kubectl` owns .spec.predictor.model.env[name="MODEL_VERSION"].value. '
        "Take them out of what it applies, and take them over with --force"
    )
    assert caught.value.managers == {"kubectl"}
    assert settle(server)[-1] == {"1": 90, "2": 10}
    cluster.force = True
    assert str(promote(cluster)) == "version 2 at 100 %"
    assert settle(server)[-1] == {"2": 100}


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("/runs/models/brain-tumor/3", "KServe cannot read /runs/models/brain-tumor/3: wanted s3://, gs:// or pvc://CLAIM/PATH"),
        ("https://user:secret@host/brain-tumor/3", "KServe cannot read https://host/brain-tumor/3: wanted"),
        ("s3://models/brain-tumor", "s3://models/brain-tumor is not one version: wanted an address such as"),
    ],
)
def test_address_that_kserve_cannot_serve_is_refused_before_the_cluster_is_asked(
    server: ApiServer, cluster: InferenceServiceClient, uri: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        deploy(cluster, uri, canary_percent=10)
    assert str(caught.value).startswith(message)
    assert server.applied.document == {}


def test_share_and_mode_out_of_range_are_refused(server: ApiServer, cluster: InferenceServiceClient) -> None:
    with pytest.raises(InputError, match="canary_percent is 0, wanted 1 to 100"):
        deploy(cluster, V1, canary_percent=0)
    with pytest.raises(InputError, match="deployment_mode is 'Serverless', wanted Standard or Knative"):
        deploy(cluster, V1, canary_percent=10, mode="Serverless")
    assert server.applied.document == {}


def test_nothing_to_promote_or_roll_back_is_said(cluster: InferenceServiceClient) -> None:
    for command in (promote, roll_back):
        with pytest.raises(InputError, match="nothing is served in namespace clinic: no InferenceService brain-tumor"):
            command(cluster)


@MODES
def test_pod_keeps_the_restricted_standard(mode: str) -> None:
    spec = new_service(V1, mode=mode, image="registry/serving:1")["spec"]["predictor"]
    assert violations({"containers": spec["containers"]}) == []


def test_template_names_no_model() -> None:
    text = TEMPLATE.read_text()
    assert "storageUri" not in text
    assert "name: MODEL_VERSION" not in text
