"""Fixtures shared by several test folders: real images, a small dataset and a small model."""

import fcntl
import os
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from components.architectures.cnn import CnnConfig
from components.architectures.evidence import EvidenceConfig
from components.files import atomic_write
from components.ingest.ingest import ingest
from components.preprocess.preprocess import preprocess
from components.registry import connect
from tests.crds import require_crds

if TYPE_CHECKING:
    from tests.cluster.control_plane import ControlPlane

ROOT = Path(__file__).parent.parent
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
TINY = CnnConfig(image_size_px=48, filters=4, dense_units=8, epochs=3, batch_size=8, learning_rate=1e-3)
TINY_EVIDENCE = EvidenceConfig(image_size_px=64, epochs=4, views=3)


# A test that uses one of these starts TensorFlow, a browser or a service.
SLOW_FIXTURES = {
    *("tiny_model", "evidence_model", "binary_model", "doubting_model", "four_class_model", "passed"),
    *("service", "brightness_service", "service_of_0_1_0", "browser", "prometheus", "decode"),
}
# Files and folders whose tests do so without any of these.
SLOW_PATHS = (
    *("tests/pipelines/local/", "tests/pipelines/tuning/", "tests/pipelines/cross_validation/test_cross_validation.py"),
    *("tests/components/train/", "tests/components/register/", "tests/components/architectures/"),
    *("tests/components/test_decision.py", "tests/components/test_decode.py", "tests/components/test_efficientnet_lite0.py"),
    *("tests/components/test_evidence_head.py", "tests/components/test_in_distribution.py", "tests/components/preprocess/"),
    *("tests/benchmarks/", "tests/components/deploy/test_commands.py", "tests/components/deploy/test_storage.py"),
    *("tests/container_images/", "tests/test_version.py"),
    *("tests/serving/test_lifecycle.py", "tests/serving/predictor/", "tests/serving/dicomweb/test_mutated_files.py"),
    "tests/serving/dicomweb/test_gateway.py",
    *("tests/brain_tumor/test_dicom.py", "tests/components/test_workers.py", "tests/components/ingest/test_hostile_files.py"),
    *("tests/test_sbom.py", "tests/helm/test_pod.py", "tests/pipelines/test_submit.py"),
    *("tests/ui/test_process.py", "tests/ui/test_plots.py", "tests/monitoring/test_monitor.py", "tests/monitoring/test_rules.py"),
)
# Tests that run one after another in one process, because they share a fixture that takes long to make; the others by file.
# The longest come first, so that no process is left alone with them at the end.
GROUPS = (
    *("tests/pipelines/local/", "tests/ui/", "tests/serving/test_", "tests/pipelines/tuning/", "tests/monitoring/"),
    *("tests/components/deploy/", "tests/components/train/test_train.py", "tests/components/architectures/test_real_images.py"),
    *("tests/pipelines/cross_validation/", "tests/components/architectures/"),
)
LEFT_OUT = ("cluster", "faults", "long", "pacs")  # marks of tests that only `-m` selects
MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@dataclass(frozen=True)
class DataSet:
    """The outputs of ingest and preprocess."""

    images_zip: Path
    manifest_csv: Path
    shards: Path
    splits_csv: Path

    @classmethod
    def of(cls, folder: Path) -> "DataSet":
        return cls(folder / "images.zip", folder / "manifest.csv", folder / "shards", folder / "splits.csv")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out some tests unless they are asked for, mark the slow ones, put the longest groups first."""
    for mark in LEFT_OUT:
        if mark not in config.option.markexpr:
            items[:] = [item for item in items if item.get_closest_marker(mark) is None]
    for item in items:
        if item.nodeid.startswith(SLOW_PATHS) or SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    items.sort(key=lambda item: GROUPS.index(group) if (group := group_of(item.nodeid)) in GROUPS else len(GROUPS))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Give the processes of pytest-xdist the tests by group."""
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = group_of
    return scheduler


def group_of(nodeid: str) -> str:
    """Return the group of a test, one of `GROUPS` or its file."""
    return next((group for group in GROUPS if nodeid.startswith(group)), nodeid.split("::", 1)[0])


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Return the folder of real images."""
    folder = Path(os.environ.get("REALDATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}: set REALDATA")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Return a function that makes a folder once for all processes of a test session, and returns it to each of them."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder = root / name
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                with atomic_write(folder) as partial:
                    fill(partial)
        return folder

    return make


@pytest.fixture(scope="session")
def phantoms(made_once: MadeOnce) -> DataSet:
    """Return 48 phantoms, ingested and split."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        data = DataSet.of(folder)
        report_html = folder / "ingest.html"
        ingest("synthetic://?n=48", images_zip=data.images_zip, manifest_csv=data.manifest_csv, report_html=report_html)
        preprocess(data.images_zip, data.manifest_csv, shards=data.shards, splits_csv=data.splits_csv)

    return DataSet.of(made_once("phantoms", fill))


@pytest.fixture(scope="session")
def empty_registry(made_once: MadeOnce) -> Path:
    """Return the database of an empty registry. Tests copy it, because MLflow takes seconds to create one."""
    return made_once("registry", lambda folder: connect(f"sqlite:///{folder}/mlflow.db")) / "mlflow.db"


@pytest.fixture(scope="session")
def tiny_model(phantoms: DataSet, made_once: MadeOnce) -> Path:
    """Return the folder of a network trained for three short epochs. Tests must not write into it."""

    def fill(folder: Path) -> None:
        from components.train.train import train

        train(phantoms.shards, model_dir=folder, config=TINY)

    return made_once("tiny_model", fill)


@pytest.fixture(scope="session")
def evidence_model(phantoms: DataSet, made_once: MadeOnce) -> Path:
    """Return the folder of a small model of the architecture `evidence`. Tests must not write into it."""

    def fill(folder: Path) -> None:
        from components.train.train import train

        train(phantoms.shards, model_dir=folder, config=TINY_EVIDENCE)

    return made_once("evidence_model", fill)


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator["ControlPlane"]:
    """Return the control plane of KUBECONFIG or one of this machine, with the namespaces of the service and of the runs."""
    from tests.cluster.control_plane import control_plane, existing_cluster, missing_programs
    from tests.cluster.real_server import create_namespaces

    if kubeconfig := os.environ.get("KUBECONFIG"):
        cluster = existing_cluster(Path(kubeconfig))
    elif missing := missing_programs():
        pytest.skip(f"needs {', '.join(missing)}: run `make test-cluster`")
    else:
        require_crds()
        cluster = control_plane(tmp_path_factory.mktemp("control-plane"))
    with cluster as plane:
        create_namespaces(plane)
        yield plane
