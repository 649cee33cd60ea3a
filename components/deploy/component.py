"""The deploy step, declared to Kubeflow Pipelines."""

from kfp import dsl

from components import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, install_kfp_package=False)
def deploy(
    registered: dsl.Input[dsl.Artifact],
    namespace: str,
    canary_percent: int,
    deployment_mode: str,
    serving_store: str,
    allow_unsigned: bool,
    serving_image: str,
) -> None:
    """Serve the registered version with KServe as the canary of the served one.

    Args:
        registered: Name, version and URI of the registered version.
        namespace: Namespace of the InferenceService; empty deploys nothing.
        canary_percent: Traffic percentage of the canary, 1 to 100. The first version receives 100 % of traffic.
        deployment_mode: Deployment mode of a new service, `Standard` or `Knative`.
        serving_store: URI of the model store as KServe reads it, such as pvc://claim/path; empty if it is the registry's.
        allow_unsigned: Whether to serve a version that no trusted key has signed, where there are trusted keys.
        serving_image: Container image of the transformer of a new service.
    """
    if not namespace:
        print("deploy: no namespace is given, nothing is deployed", flush=True)
        return

    import json
    from pathlib import Path

    from components.deploy.deploy import deploy as serve
    from components.deploy.kubernetes_api import InferenceServiceClient
    from components.deploy.rollout import serving_uri
    from components.deploy.signature import verify_signature
    from components.errors import exit_on_error
    from components.registry import RegisteredVersion

    with exit_on_error("deploy"):
        version = RegisteredVersion(**json.loads(Path(registered.path).read_text()))
        uri = serving_uri(vars(version), serving_store)
        digest, remark = verify_signature(version, allow_unsigned=allow_unsigned)
        rollout = serve(
            InferenceServiceClient(namespace),
            uri,
            canary_percent=canary_percent,
            digest=digest,
            mode=deployment_mode,
            serving_image=serving_image,
        )
    print(f"deploy: brain-tumor in namespace {namespace} serves {rollout}{remark}", flush=True)
