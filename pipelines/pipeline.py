"""The pipeline: the order and inputs of the steps."""

from kfp import dsl

from components import SERVING_IMAGE
from components.architectures import FIELDS
from components.deploy.component import deploy
from components.evaluate.component import evaluate
from components.gate.component import gate, refuse
from components.ingest.component import ingest
from components.preprocess.component import preprocess
from components.register.component import register
from components.summary.component import summary
from components.train.component import train
from pipelines.resources import place_on_gpu_node, set_resources


@dsl.pipeline(name="brain-tumor", description="From a folder of MRI slices to a registered model. Not for diagnosis.")
def brain_tumor(
    source: str = "synthetic://",
    ignore_folders: str = "",
    patient_pattern: str = "",
    model_store: str = "runs/models",
    tracking_uri: str = "",
    checkpoint_dir: str = "",
    namespace: str = "",
    canary_percent: int = 10,
    deployment_mode: str = "Standard",
    serving_store: str = "",
    allow_unsigned: bool = False,
    gpus: int = 1,
    accelerator: str = "nvidia.com/gpu",
    node_selector: dict = {},  # noqa: B006 - the compiler wants a value, and nothing changes it
    tolerations: list = [],  # noqa: B006
    test_share: float = 0.2,
    validation_share: float = 0.15,
    min_auc: float = 0.70,
    min_recall: float = 0.70,
    min_class_images: int = 10,
    allow_unreadable_champion: bool = False,
    seed: int = FIELDS["seed"].default,
    hyperparameters: dict = {},  # noqa: B006
) -> None:
    """Ingest, preprocess, train and evaluate; register and deploy a model that passes the gate.

    Args:
        source: Folder, archive or URI of the images (s3, gs, https, kaggle, synthetic).
        ignore_folders: Names of folders of the source to leave out, at any depth, separated by commas.
        patient_pattern: Regular expression with a group (?P<patient>...) that finds the patient in each file name, for a split
            by patient; DICOM files state theirs.
        model_store: Folder or URI (s3, gs) of the model store; versions are written below brain-tumor/.
        tracking_uri: URI of MLflow; empty takes MLFLOW_TRACKING_URI.
        checkpoint_dir: Folder that outlives the pod, from which a killed training resumes; empty for none.
        namespace: Namespace of the KServe service; empty deploys nothing.
        canary_percent: Traffic percentage of the new version, 1 to 100. The first version receives 100 %.
        deployment_mode: Mode of a service that does not exist yet, `Standard` or `Knative`.
        serving_store: URI of the model store for KServe if it differs: pvc://claim/path for a mounted PVC.
        allow_unsigned: Whether to serve a version that no key in the Secret brain-tumor-trusted-keys has signed.
        gpus: Number of GPUs that the train step requests from the cluster; 0 trains on CPU.
        accelerator: Resource name of a GPU on the nodes, such as nvidia.com/gpu or nvidia.com/mig-1g.10gb.
        node_selector: Labels of the nodes to train on, as a JSON object; {} for any.
        tolerations: Tolerations of their taints in addition to nvidia.com/gpu, as a JSON list.
        test_share: Fraction of every label's images in the held-out test set.
        validation_share: Fraction of the other images in the validation split, which steers early stopping.
        min_auc: Minimum ROC-AUC; a model below it is not promoted, nor one whose 95 % interval is not above 0.5. With 0 neither
            rule applies.
        min_recall: Minimum recall of a tumour; a model below it is not promoted.
        min_class_images: Minimum number of held-out images of every class, in half as many groups of near copies; a demonstration
            on few images may lower it.
        allow_unreadable_champion: Whether to replace a champion that cannot be read. By default nothing is promoted over it.
        seed: Random seed of the split, the training and the bootstrap.
        hyperparameters: Hyper-parameters that differ from the defaults, by name, as a JSON object such as {"epochs": 60}.
            `python -m pipelines.submit --help` lists all. The ingest step rejects an unknown name or a bad value.
    """
    # No caching: exit task, register and deploy have side effects, the data behind a URI may change, and so may the champion that
    # evaluate compares with.
    exit_task = summary(source=source)
    exit_task.set_caching_options(False)
    with dsl.ExitHandler(exit_task):
        ingested = ingest(
            source=source, ignore_folders=ignore_folders, patient_pattern=patient_pattern, hyperparameters=hyperparameters
        )
        ingested.set_caching_options(False)
        split = preprocess(
            images=ingested.outputs["images"],
            manifest=ingested.outputs["manifest"],
            test_share=test_share,
            validation_share=validation_share,
            seed=seed,
        )
        trained = train(
            shards=split.outputs["shards"],
            hyperparameters=hyperparameters,
            seed=seed,
            checkpoint_dir=checkpoint_dir,
            gpus=gpus,
        )
        place_on_gpu_node(trained, gpus=gpus, accelerator=accelerator, node_selector=node_selector, tolerations=tolerations)
        evaluated = evaluate(
            model=trained.outputs["model"],
            images=ingested.outputs["images"],
            splits=split.outputs["splits"],
            min_auc=min_auc,
            min_recall=min_recall,
            min_class_images=min_class_images,
            allow_unreadable_champion=allow_unreadable_champion,
            tracking_uri=tracking_uri,
            seed=seed,
        )
        evaluated.set_caching_options(False)
        decision = gate(evaluation=evaluated.outputs["evaluation"])
        with dsl.If(decision.output == True, name="passed"):  # noqa: E712
            registered = register(
                model=trained.outputs["model"],
                evaluation=evaluated.outputs["evaluation"],
                model_store=model_store,
                tracking_uri=tracking_uri,
            )
            registered.set_caching_options(False)
            deployed = deploy(
                registered=registered.outputs["registered"],
                namespace=namespace,
                canary_percent=canary_percent,
                deployment_mode=deployment_mode,
                serving_store=serving_store,
                allow_unsigned=allow_unsigned,
                serving_image=SERVING_IMAGE,
            )
            deployed.set_caching_options(False)
        with dsl.Else(name="refused"):
            not_promoted = refuse(evaluation=evaluated.outputs["evaluation"])
        set_resources(exit_task, ingested, split, trained, evaluated, decision, registered, deployed, not_promoted)
