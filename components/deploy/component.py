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
    serving_image: str,
) -> None:
    """Serve the registered version with KServe as the canary of the served one.

    Args:
        registered: Name, version and URI of the registered version.
        namespace: Namespace of the InferenceService; empty deploys nothing.
        canary_percent: Traffic percentage of the canary, 1 to 100. The first version receives 100 % of traffic.
        deployment_mode: Deployment mode of a new service, `Standard` or `Knative`.
        serving_store: URI of the model store as KServe reads it, such as pvc://claim/path; empty if it is the registry's.
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
    from components.errors import exit_on_input_error

    with exit_on_input_error("deploy"):
        uri = serving_uri(json.loads(Path(registered.path).read_text()), serving_store)
        rollout = serve(
            InferenceServiceClient(namespace),
            uri,
            canary_percent=canary_percent,
            mode=deployment_mode,
            serving_image=serving_image,
        )
    print(f"deploy: brain-tumor in namespace {namespace} serves {rollout}", flush=True)
