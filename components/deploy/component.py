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
    """Serve the registered version with KServe beside the one that is served, at a share.

    Args:
        registered: what register wrote.
        namespace: of the InferenceService; empty deploys nothing.
        canary_percent: share of the version, 1 to 100; the first version gets everything.
        deployment_mode: of a service that is not there yet, `Standard` or `Knative`.
        serving_store: the model store as KServe reads it, where that is another address: pvc://claim/path.
        serving_image: of the transformer, for a service that is not there yet.
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
