"""The resources that each task requests from a cluster. The local runner ignores them."""

import os
from dataclasses import dataclass

from kfp import dsl, kubernetes

from components.registry.signatures import SIGNING_KEY, TRUSTED_KEYS

CHECKPOINT_PVC = os.environ.get("CHECKPOINT_PVC", "")
CHECKPOINTS = "/checkpoints"
SHARED_MEMORY = "2Gi"
STORE_SECRET = "brain-tumor-store"
MLFLOW_SECRET = "brain-tumor-mlflow"
SIGNING_SECRET = "brain-tumor-signing-key"  # apart from the trusted keys: only the register step can sign
TRUSTED_SECRET = "brain-tumor-trusted-keys"
# The keys of each Secret, named as the environment variables of s3fs, kagglehub and MLflow. None is needed if the pod's service
# account has access.
SECRET_KEYS = {
    STORE_SECRET: (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"),
        *("KAGGLE_USERNAME", "KAGGLE_KEY"),
    ),
    MLFLOW_SECRET: ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
    SIGNING_SECRET: (SIGNING_KEY,),
    TRUSTED_SECRET: (TRUSTED_KEYS,),
}


@dataclass(frozen=True)
class Resources:
    """The resources of one task.

    Attributes:
        cpu: Request and limit in cores.
        memory: Request and limit as Kubernetes quantities. A task above the limit is killed.
        minutes: Time limit of one attempt.
        retries: Attempts after the first. The wait before them is 30 s and doubles, up to 10 minutes.
        secrets: Secrets whose keys are environment variables of the task, if they exist.
    """

    cpu: tuple[str, str]
    memory: tuple[str, str]
    minutes: int
    retries: int = 2
    secrets: tuple[str, ...] = ()


# Peak memory of the steps on 800 images in four classes, on CPU: ingest 0.1 GB, preprocess 0.1, train 1.2, evaluate 0.9,
# register 0.2 in addition to the process that verifies the model.
SMALL = Resources(cpu=("100m", "1"), memory=("256Mi", "1Gi"), minutes=10)
RESOURCES = {
    "ingest": Resources(cpu=("1", "4"), memory=("512Mi", "4Gi"), minutes=240, secrets=(STORE_SECRET,)),
    "preprocess": Resources(cpu=("1", "2"), memory=("512Mi", "4Gi"), minutes=60),
    # A lost node ends an attempt, too. With checkpoints the next attempt resumes.
    "train": Resources(cpu=("2", "8"), memory=("4Gi", "16Gi"), minutes=24 * 60, retries=3),
    "evaluate": Resources(cpu=("1", "4"), memory=("1Gi", "8Gi"), minutes=120, secrets=(STORE_SECRET, MLFLOW_SECRET)),
    "register": Resources(
        cpu=("500m", "2"), memory=("1Gi", "4Gi"), minutes=60, secrets=(STORE_SECRET, MLFLOW_SECRET, SIGNING_SECRET)
    ),
    # Most of the time it waits for the service. A version that is not ready rarely is at a second attempt.
    "deploy": Resources(
        cpu=("100m", "1"), memory=("256Mi", "1Gi"), minutes=60, retries=1, secrets=(STORE_SECRET, TRUSTED_SECRET)
    ),
}


def set_resources(*tasks: dsl.PipelineTask) -> None:
    """Set resources, time limit, retries, secrets and image pull policy of tasks. A task without a row in RESOURCES is small."""
    for task in tasks:
        resources = RESOURCES.get(task.name, SMALL)
        task.set_cpu_request(resources.cpu[0]).set_cpu_limit(resources.cpu[1])
        task.set_memory_request(resources.memory[0]).set_memory_limit(resources.memory[1])
        task.set_retry(resources.retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="600s")
        kubernetes.set_timeout(task, resources.minutes * 60)
        kubernetes.set_image_pull_policy(task, "IfNotPresent")
        for secret in resources.secrets:
            kubernetes.use_secret_as_env(task, secret, {key: key for key in SECRET_KEYS[secret]}, optional=True)


def place_on_gpu_node(task: dsl.PipelineTask, *, gpus: int, accelerator: str, node_selector: dict, tolerations: list) -> None:
    """Request GPUs on matching nodes, and mount shared memory and the checkpoint volume.

    The arguments are parameters of the pipeline. The volume cannot be one: Kubeflow rejects a claim without a name, so
    CHECKPOINT_PVC names it at compile time.
    """
    task.register_pipeline_channels([accelerator, gpus])  # else the compiler drops parameters that only the resources use
    task.set_accelerator_type(accelerator).set_accelerator_limit(gpus)
    kubernetes.add_node_selector_json(task, node_selector)
    kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    kubernetes.add_toleration_json(task, tolerations)
    # A container's own /dev/shm has 64 MB: too little for NCCL, which exchanges gradients between GPUs there.
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=SHARED_MEMORY)
    if CHECKPOINT_PVC:
        kubernetes.mount_pvc(task, CHECKPOINT_PVC, CHECKPOINTS)
