"""What each task asks of a cluster. The local runner takes none of it."""

import os
from dataclasses import dataclass

from kfp import dsl, kubernetes

CHECKPOINT_PVC = os.environ.get("CHECKPOINT_PVC", "")
CHECKPOINTS = "/checkpoints"
SHARED_MEMORY = "2Gi"
STORE_SECRET = "brain-tumor-store"
MLFLOW_SECRET = "brain-tumor-mlflow"
# The keys of each Secret, by the names under which s3fs, kagglehub and MLflow read them. None is needed where the pod's own
# service account has access.
SECRET_KEYS = {
    STORE_SECRET: (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"),
        *("KAGGLE_USERNAME", "KAGGLE_KEY"),
    ),
    MLFLOW_SECRET: ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
}


@dataclass(frozen=True)
class Resources:
    """What one task may use.

    Attributes:
        cpu: cores that are reserved for it, and the most it gets.
        memory: the same; above the limit it is killed.
        minutes: after which one attempt is ended.
        retries: attempts after the first. The wait before them is 30 s and doubles, up to 10 minutes.
        secrets: whose keys are in its environment, as far as they are there.
    """

    cpu: tuple[str, str]
    memory: tuple[str, str]
    minutes: int
    retries: int = 2
    secrets: tuple[str, ...] = ()


# Peaks of the steps' own processes on 800 images in four classes, on processors: ingest 0.1 GB, preprocess 0.7, train 1.2,
# evaluate 0.9, register 0.2 beside the process that verifies the model.
SMALL = Resources(cpu=("100m", "1"), memory=("256Mi", "1Gi"), minutes=10)
RESOURCES = {
    "ingest": Resources(cpu=("1", "4"), memory=("512Mi", "4Gi"), minutes=240, secrets=(STORE_SECRET,)),
    "preprocess": Resources(cpu=("1", "2"), memory=("1Gi", "4Gi"), minutes=60),
    # A node that is taken away ends an attempt, too: with checkpoints the next one goes on from there.
    "train": Resources(cpu=("2", "8"), memory=("4Gi", "16Gi"), minutes=24 * 60, retries=3),
    "evaluate": Resources(cpu=("1", "4"), memory=("1Gi", "8Gi"), minutes=120, secrets=(STORE_SECRET, MLFLOW_SECRET)),
    "register": Resources(cpu=("500m", "2"), memory=("1Gi", "4Gi"), minutes=60, secrets=(STORE_SECRET, MLFLOW_SECRET)),
    # It waits for the service; a version that does not answer is no better at the second attempt.
    "deploy": Resources(cpu=("100m", "1"), memory=("256Mi", "1Gi"), minutes=60, retries=1),
}


def set_resources(*tasks: dsl.PipelineTask) -> None:
    """Set resources, time limit, retries, secrets and image pull policy of tasks by the table above, where those of small ones
    are left out.
    """
    for task in tasks:
        needs = RESOURCES.get(task.name, SMALL)
        task.set_cpu_request(needs.cpu[0]).set_cpu_limit(needs.cpu[1])
        task.set_memory_request(needs.memory[0]).set_memory_limit(needs.memory[1])
        task.set_retry(needs.retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="600s")
        kubernetes.set_timeout(task, needs.minutes * 60)
        kubernetes.set_image_pull_policy(task, "IfNotPresent")
        for secret in needs.secrets:
            kubernetes.use_secret_as_env(task, secret, {key: key for key in SECRET_KEYS[secret]}, optional=True)


def place_on_gpu_node(task: dsl.PipelineTask, *, gpus: int, accelerator: str, node_selector: dict, tolerations: list) -> None:
    """Ask for GPUs, say which nodes have them, and give the data loader shared memory and the checkpoints their volume.

    The arguments are parameters of the pipeline. A volume cannot be one: Kubeflow refuses to mount a claim without a name, so
    CHECKPOINT_PVC names it when the pipeline is compiled.
    """
    task.register_pipeline_channels([accelerator, gpus])  # the compiler forgets what only the resources refer to
    task.set_accelerator_type(accelerator).set_accelerator_limit(gpus)
    kubernetes.add_node_selector_json(task, node_selector)
    kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    kubernetes.add_toleration_json(task, tolerations)
    # A container's own /dev/shm has 64 MB: too little for NCCL, which exchanges gradients between GPUs there.
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=SHARED_MEMORY)
    if CHECKPOINT_PVC:
        kubernetes.mount_pvc(task, CHECKPOINT_PVC, CHECKPOINTS)
