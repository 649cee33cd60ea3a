from tests.components.deploy.conftest import backends, client, kubeconfig
from tests.serving.conftest import service

__all__ = ["backends", "client", "kubeconfig", "service"]
