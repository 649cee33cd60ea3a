"""The pipeline: how the steps are wired."""

from kfp import dsl

from components import SERVING_IMAGE
from components.deploy.component import deploy
from components.evaluate.component import evaluate
from components.gate.component import gate, refuse
from components.hyperparameters import TrainConfig
from components.ingest.component import ingest
from components.preprocess.component import preprocess
from components.register.component import register
from components.summary.component import summary
from components.train.component import train
from pipelines.resources import place_on_gpu_node, set_resources

DEFAULTS = TrainConfig()


@dsl.pipeline(name="brain-tumor", description="From a folder of MRI slices to a registered model. Not for diagnosis.")
def brain_tumor(
    source: str = "synthetic://",
    model_store: str = "runs/models",
    tracking_uri: str = "",
    checkpoint_dir: str = "",
    namespace: str = "",
    canary_percent: int = 10,
    deployment_mode: str = "Standard",
    serving_store: str = "",
    gpus: int = 1,
    accelerator: str = "nvidia.com/gpu",
    node_selector: dict = {},  # noqa: B006 - the compiler wants a value, and nothing changes it
    tolerations: list = [],  # noqa: B006
    test_share: float = 0.2,
    validation_share: float = 0.15,
    min_auc: float = 0.70,
    min_recall: float = 0.70,
    head: str = DEFAULTS.head,
    image_size_px: int = DEFAULTS.image_size_px,
    filters: int = DEFAULTS.filters,
    dense_units: int = DEFAULTS.dense_units,
    dropout: float = DEFAULTS.dropout,
    l2: float = DEFAULTS.l2,
    batch_norm_momentum: float = DEFAULTS.batch_norm_momentum,
    learning_rate: float = DEFAULTS.learning_rate,
    batch_size: int = DEFAULTS.batch_size,
    epochs: int = DEFAULTS.epochs,
    early_stopping_patience: int = DEFAULTS.early_stopping_patience,
    reduce_lr_patience: int = DEFAULTS.reduce_lr_patience,
    rotation_deg: float = DEFAULTS.rotation_deg,
    zoom: float = DEFAULTS.zoom,
    shear_deg: float = DEFAULTS.shear_deg,
    horizontal_flip: bool = DEFAULTS.horizontal_flip,
    threshold: float = DEFAULTS.threshold,
    seed: int = DEFAULTS.seed,
) -> None:
    """Ingest, preprocess, train, evaluate, and register and deploy what passes the gate.

    Args:
        source: a folder, an archive, or an address (s3, gs, https, kaggle, synthetic).
        model_store: a folder or an address (s3, gs); versions are put below brain-tumor/.
        tracking_uri: of MLflow; empty takes MLFLOW_TRACKING_URI.
        checkpoint_dir: a folder that outlives the pod, where a killed training resumes; empty for none.
        namespace: where the model is served by KServe; empty deploys nothing.
        canary_percent: the new version's share, 1 to 100; the first version gets everything.
        deployment_mode: of a service that is not there yet, `Standard` or `Knative`.
        serving_store: the model store as KServe reads it, where that is another address: pvc://claim/path for a mounted PVC.
        gpus: that the train step asks the cluster for; 0 trains on processors.
        accelerator: what the nodes call a GPU, such as nvidia.com/gpu or nvidia.com/mig-1g.10gb.
        node_selector: labels of the nodes to train on, as JSON; {} for any.
        tolerations: of their taints beside nvidia.com/gpu, as a JSON list.
        test_share: held out, as a share of every label's images.
        validation_share: steers early stopping, as a share of what is not held out.
        min_auc: the ROC-AUC below which the model is refused.
        min_recall: the recall of a tumour below which the model is refused.
        head: `pool` keeps the maximum of each feature map: 50 times fewer weights, and a heatmap that points; `flatten` is the
            published one.
        image_size_px: side of the square the network sees.
        filters: of the first convolution; each of the three doubles them.
        dense_units: of the hidden dense layer.
        dropout: share of the dense units switched off in training.
        l2: weight decay of the convolutions' kernels.
        batch_norm_momentum: of the moving statistics; 0.99 never settles in the few steps of a small data set.
        learning_rate: of Adam, at the start. With `flatten` and few images 1e-4 is steadier.
        batch_size: images a step, over all GPUs.
        epochs: at most; early stopping usually ends before.
        early_stopping_patience: epochs without a lower validation loss before training stops.
        reduce_lr_patience: the same, before the learning rate is halved.
        rotation_deg: augmentation: at most this rotation, either way.
        zoom: augmentation: at most this share larger or smaller.
        shear_deg: augmentation: at most this shear, either way.
        horizontal_flip: augmentation: mirror half of the images.
        threshold: probability of a tumour from which the label is `tumor`; two classes only.
        seed: of the weights, the order and the augmentation.
    """
    # Not answered from a cache: exit task, register and deploy act on the world, behind one address the data may change, and so
    # does the champion that evaluate compares with.
    exit_task = summary(source=source)
    exit_task.set_caching_options(False)
    with dsl.ExitHandler(exit_task):
        ingested = ingest(source=source)
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
            checkpoint_dir=checkpoint_dir,
            gpus=gpus,
            head=head,
            image_size_px=image_size_px,
            filters=filters,
            dense_units=dense_units,
            dropout=dropout,
            l2=l2,
            batch_norm_momentum=batch_norm_momentum,
            learning_rate=learning_rate,
            batch_size=batch_size,
            epochs=epochs,
            early_stopping_patience=early_stopping_patience,
            reduce_lr_patience=reduce_lr_patience,
            rotation_deg=rotation_deg,
            zoom=zoom,
            shear_deg=shear_deg,
            horizontal_flip=horizontal_flip,
            threshold=threshold,
            seed=seed,
        )
        place_on_gpu_node(trained, gpus=gpus, accelerator=accelerator, node_selector=node_selector, tolerations=tolerations)
        evaluated = evaluate(
            model=trained.outputs["model"],
            images=ingested.outputs["images"],
            splits=split.outputs["splits"],
            min_auc=min_auc,
            min_recall=min_recall,
            tracking_uri=tracking_uri,
            seed=seed,
        )
        evaluated.set_caching_options(False)
        verdict = gate(evaluation=evaluated.outputs["evaluation"])
        with dsl.If(verdict.output == True, name="passed"):  # noqa: E712
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
                serving_image=SERVING_IMAGE,
            )
            deployed.set_caching_options(False)
        with dsl.Else(name="refused"):
            refused = refuse(evaluation=evaluated.outputs["evaluation"])
        set_resources(exit_task, ingested, split, trained, evaluated, verdict, registered, deployed, refused)
